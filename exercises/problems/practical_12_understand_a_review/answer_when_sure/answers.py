"""Answers to `answer_when_sure`: the starter, right ones and wrong ones."""

# %% starter
def selective(chance, labels, coverage):
    ...

# %% solution
import numpy as np


def selective(chance, labels, coverage):
    sure = np.abs(chance - 0.5)
    count = max(1, round(coverage * len(chance)))
    first = np.argsort(-sure)[:count]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[first].mean(), sure[first[-1]]

# %% right: with a threshold
import numpy as np


def selective(chance, labels, coverage):
    count = max(1, round(coverage * len(chance)))
    sure = np.abs(chance - 0.5)
    threshold = np.partition(sure, len(sure) - count)[len(sure) - count]
    answered = sure >= threshold
    said = (chance[answered] >= 0.5).astype(int)
    return np.mean(said == labels[answered]), threshold

# %% right: lists
def selective(chance, labels, coverage):
    rows = sorted(zip(chance, labels), key=lambda row: -abs(row[0] - 0.5))
    rows = rows[: max(1, round(coverage * len(rows)))]
    hits = sum((c >= 0.5) == bool(y) for c, y in rows)
    return hits / len(rows), abs(rows[-1][0] - 0.5)

# %% right: pandas
import pandas as pd


def selective(chance, labels, coverage):
    frame = pd.DataFrame({"p": chance, "y": labels})
    frame["sure"] = (frame["p"] - 0.5).abs()
    top = frame.nlargest(max(1, round(coverage * len(frame))), "sure")
    return ((top["p"] >= 0.5) == (top["y"] == 1)).mean(), top["sure"].min()

# %% wrong: everything
import numpy as np


def selective(chance, labels, coverage):
    sure = np.sort(np.abs(chance - 0.5))[::-1]
    count = max(1, round(coverage * len(chance)))
    return ((chance >= 0.5) == (labels == 1)).mean(), sure[count - 1]

# %% wrong: the least sure
import numpy as np


def selective(chance, labels, coverage):
    sure = np.abs(chance - 0.5)
    first = np.argsort(sure)[: max(1, round(coverage * len(chance)))]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[first].mean(), sure[first].min()

# %% wrong: the highest chances
import numpy as np


def selective(chance, labels, coverage):
    first = np.argsort(-chance)[: max(1, round(coverage * len(chance)))]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[first].mean(), np.abs(chance - 0.5)[first[-1]]

# %% wrong: the chance is the threshold
import numpy as np


def selective(chance, labels, coverage):
    sure = np.maximum(chance, 1 - chance)
    count = max(1, round(coverage * len(chance)))
    first = np.argsort(-sure)[:count]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[first].mean(), sure[first[-1]]

# %% wrong: never silent about nothing
import numpy as np


def selective(chance, labels, coverage):
    sure = np.abs(chance - 0.5)
    count = int(coverage * len(chance))
    first = np.argsort(-sure)[:count]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[first].mean(), sure[first[-1]]

# %% wrong: the first silent review
import numpy as np


def selective(chance, labels, coverage):
    sure = np.abs(chance - 0.5)
    count = max(1, round(coverage * len(chance)))
    order = np.argsort(-sure)
    hit = (chance >= 0.5) == (labels == 1)
    return hit[order[:count]].mean(), sure[order[min(count, len(order) - 1)]]

# %% right: torch, single precision
import torch


def selective(chance, labels, coverage):
    chance, labels = torch.as_tensor(chance).float(), torch.as_tensor(labels)
    sure, order = (chance - 0.5).abs().sort(descending=True)
    count = max(1, round(coverage * len(order)))
    hit = (chance >= 0.5).long() == labels
    return hit[order[:count]].float().mean(), sure[count - 1]

# %% wrong: the count is cut, not rounded
import numpy as np


def selective(chance, labels, coverage):
    sure = abs(chance - 0.5)
    order = np.argsort(-sure)[: max(1, int(coverage * len(sure)))]
    hit = (chance >= 0.5) == (labels == 1)
    return hit[order].mean(), sure[order[-1]]

# %% wrong: one half is negative
import numpy as np


def selective(chance, labels, coverage):
    sure = np.abs(chance - 0.5)
    count = max(1, round(coverage * len(chance)))
    first = np.argsort(-sure)[:count]
    hit = (chance > 0.5) == (labels == 1)
    return hit[first].mean(), sure[first[-1]]
