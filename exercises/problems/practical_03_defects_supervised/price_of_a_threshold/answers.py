"""Answers to `price_of_a_threshold`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    ...

# %% solution
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_miss * misses + c_alarm * alarms) / len(label)

    best = min([*probability, np.inf], key=cost)
    return best, cost(best)

# %% right: sorted once, with cumulative sums and thresholds between two scores
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    scores = np.unique(probability)
    bounds = np.concatenate([[-np.inf], (scores[1:] + scores[:-1]) / 2, [np.inf]])
    defects = np.array([(label[probability == s] == 1).sum() for s in scores])
    sound = np.array([(label[probability == s] == 0).sum() for s in scores])
    misses = np.append(0, np.cumsum(defects))
    alarms = sound.sum() - np.append(0, np.cumsum(sound))
    costs = (c_miss * misses + c_alarm * alarms) / len(label)
    return bounds[costs.argmin()], costs.min()

# %% right: a loop in plain Python
def price_of_a_threshold(probability, label, c_miss, c_alarm):
    pairs = list(zip(probability.tolist(), label.tolist()))
    best = None
    for threshold in [0.0, 2.0] + [p for p, _ in pairs]:
        cost = 0.0
        for p, y in pairs:
            if y == 1 and p < threshold:
                cost += c_miss / len(pairs)
            if y == 0 and p >= threshold:
                cost += c_alarm / len(pairs)
        if best is None or cost < best[1]:
            best = threshold, cost
    return best

# %% wrong: the formula for calibrated probabilities
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    threshold = c_alarm / (c_alarm + c_miss)
    rejected = probability >= threshold
    cost = c_miss * (~rejected & (label == 1)) + c_alarm * (rejected & (label == 0))
    return threshold, cost.mean()

# %% wrong: the two prices are swapped
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_alarm * misses + c_miss * alarms) / len(label)

    best = min([*probability, np.inf], key=cost)
    return best, cost(best)

# %% wrong: the total cost, not the cost per cell
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return c_miss * misses + c_alarm * alarms

    best = min([*probability, np.inf], key=cost)
    return best, cost(best)

# %% wrong: rates instead of numbers of cells
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum() / (label == 1).sum()
        alarms = (rejected & (label == 0)).sum() / (label == 0).sum()
        return c_miss * misses + c_alarm * alarms

    best = min([*probability, np.inf], key=cost)
    return best, cost(best)

# %% wrong: the rates choose the threshold, the cost is right
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold, defects, sound):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum() / defects
        alarms = (rejected & (label == 0)).sum() / sound
        return c_miss * misses + c_alarm * alarms

    sizes = (label == 1).sum(), (label == 0).sum()
    best = min([*probability, np.inf], key=lambda t: cost(t, *sizes))
    return best, cost(best, len(label), len(label))

# %% wrong: rejects above the threshold only
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability > threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_miss * misses + c_alarm * alarms) / len(label)

    best = min([*probability, -np.inf], key=cost)
    return best, cost(best)

# %% wrong: a coarse grid
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_miss * misses + c_alarm * alarms) / len(label)

    best = min([*np.linspace(0, 1, 21), np.inf], key=cost)
    return best, cost(best)

# %% wrong: never rejects none
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_miss * misses + c_alarm * alarms) / len(label)

    best = min(probability, key=cost)
    return best, cost(best)

# %% wrong: the best accuracy
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    def cost(threshold, c_miss, c_alarm):
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        return (c_miss * misses + c_alarm * alarms) / len(label)

    best = min([*probability, np.inf], key=lambda t: cost(t, 1, 1))
    return best, cost(best, c_miss, c_alarm)

# %% wrong: a fine grid
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    grid = [*np.linspace(0, 1, 2001), np.inf]
    costs = []
    for threshold in grid:
        rejected = probability >= threshold
        misses = (~rejected & (label == 1)).sum()
        alarms = (rejected & (label == 0)).sum()
        costs.append((c_miss * misses + c_alarm * alarms) / len(label))
    best = int(np.argmin(costs))
    return grid[best], costs[best]

# %% wrong: separates cells of equal probability
import numpy as np


def price_of_a_threshold(probability, label, c_miss, c_alarm):
    order = np.argsort(probability, kind="stable")
    sorted_label = label[order]
    misses = np.concatenate([[0], np.cumsum(sorted_label == 1)])
    alarms = (label == 0).sum() - np.concatenate([[0], np.cumsum(sorted_label == 0)])
    costs = (c_miss * misses + c_alarm * alarms) / len(label)
    best = int(np.argmin(costs))
    return [*probability[order], np.inf][best], costs[best]
