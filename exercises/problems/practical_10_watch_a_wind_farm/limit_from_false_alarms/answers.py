"""Answers to `limit_from_false_alarms`: the starter, right ones and wrong ones."""

# %% starter
def limit(scores, most):
    ...

# %% solution
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) > most:
            break
        best = value
    return best

# %% right: upward, keeping the last one that is too low
import numpy as np


def limit(scores, most):
    def total(threshold):
        number = 0
        for score in scores:
            last = None
            for block, value in enumerate(score):
                if abs(value) > threshold:
                    if last is None or block - last > 28:
                        number += 1
                    last = block
        return number

    values = {0.0} | {abs(float(v)) for s in scores for v in s if v == v}
    ordered = sorted(values)
    answer = ordered[0]
    for low, high in zip(ordered, ordered[1:]):
        if total(low) > most:
            answer = high
    return answer

# %% right: with all counts at once
import numpy as np


def limit(scores, most):
    values = np.unique(np.abs(np.concatenate([*scores, [0.0]])))
    values = values[~np.isnan(values)]
    counts = np.zeros(len(values), int)
    for score in scores:
        for k, value in enumerate(values):
            on = np.where(np.abs(score) > value)[0]
            counts[k] += len(on) > 0
            counts[k] += np.sum(on[1:] - on[:-1] > 28)
    bad = np.flatnonzero(counts > most)
    return values[bad[-1] + 1] if len(bad) else values[0]

# %% wrong: the smallest limit that happens to have few alarms
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    for value in np.unique(np.append(values[np.isfinite(values)], 0.0)):
        if sum(alarms(each, value) for each in scores) <= most:
            return value

# %% wrong: each active block is an alarm
import numpy as np


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.sort(values[np.isfinite(values)])[::-1]
    return values[most]

# %% wrong: one turbine's alarms
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if max(alarms(each, value) for each in scores) > most:
            break
        best = value
    return best

# %% wrong: only positive scores
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(score > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) > most:
            break
        best = value
    return best

# %% wrong: 28 blocks apart are two alarms
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) >= 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) > most:
            break
        best = value
    return best

# %% wrong: the first limit that is too low
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) > most:
            return value
    return 0.0

# %% wrong: fewer than most
import numpy as np


def alarms(score, threshold):
    on = np.flatnonzero(np.abs(score) > threshold)
    return 1 + (np.diff(on) > 28).sum() if len(on) else 0


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) >= max(most, 1):
            break
        best = value
    return best

# %% wrong: a quantile
import numpy as np


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    return np.nanquantile(values, 1 - most / np.isfinite(values).sum())

# %% wrong: a week from the beginning of the alarm
import numpy as np


def alarms(score, threshold):
    number, begin = 0, -1000
    for block in np.flatnonzero(np.abs(score) > threshold):
        if block - begin > 28:
            number, begin = number + 1, block
    return number


def limit(scores, most):
    values = np.abs(np.concatenate(scores))
    values = np.unique(np.append(values[np.isfinite(values)], 0.0))
    best = values[-1]
    for value in values[::-1]:
        if sum(alarms(each, value) for each in scores) > most:
            break
        best = value
    return best
