"""Answers to `when_to_ask`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    ...

# %% solution
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    p = np.asarray(probability)
    costs = [p * c_miss, np.full(len(p), c_ask), (1 - p) * c_alarm]
    return np.array(["pass", "ask", "reject"])[np.argmin(costs, axis=0)]

# %% right: two thresholds, which meet where asking is too dear
def when_to_ask(probability, c_miss, c_alarm, c_ask):
    middle = c_alarm / (c_alarm + c_miss)
    low, high = min(c_ask / c_miss, middle), max(1 - c_ask / c_alarm, middle)
    words = []
    for p in probability:
        words.append("pass" if p < low else "ask" if p < high else "reject")
    return words

# %% wrong: never asks
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    threshold = c_alarm / (c_alarm + c_miss)
    return np.where(probability >= threshold, "reject", "pass")

# %% wrong: asks where the model is unsure, whatever the prices
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    words = np.where(probability >= 0.5, "reject", "pass")
    words[np.abs(probability - 0.5) < 0.25] = "ask"
    return words

# %% wrong: asks even where that is too dear
def when_to_ask(probability, c_miss, c_alarm, c_ask):
    words = []
    for p in probability:
        if p * c_miss < c_ask:
            words.append("pass")
        elif (1 - p) * c_alarm < c_ask:
            words.append("reject")
        else:
            words.append("ask")
    return words

# %% wrong: the two prices are swapped
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    p = np.asarray(probability)
    costs = [p * c_alarm, np.full(len(p), c_ask), (1 - p) * c_miss]
    return np.array(["pass", "ask", "reject"])[np.argmin(costs, axis=0)]

# %% wrong: an alarm costs its price, even if the cell is defective
import numpy as np


def when_to_ask(probability, c_miss, c_alarm, c_ask):
    p = np.asarray(probability)
    costs = [p * c_miss, np.full(len(p), c_ask), np.full(len(p), c_alarm)]
    return np.array(["pass", "ask", "reject"])[np.argmin(costs, axis=0)]
