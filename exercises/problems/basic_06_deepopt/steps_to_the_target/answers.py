"""Answers to `steps_to_the_target`: the starter, right ones and wrong ones."""

# %% starter
import math


def steps_to(target, losses):
    ...

# %% solution
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: linear in the steps
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return a + share * (b - a)
    return None

# %% wrong: the last budget that reaches it
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    found = None
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target < losses[a]:
            share = (losses[a] - target) / (losses[a] - losses[b])
            found = a * (b / a) ** share
    return found

# %% wrong: unsorted
import math


def steps_to(target, losses):
    budgets = list(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: the budget itself
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            return b
    return None

# %% wrong: shorter than the shortest
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: longer than the longest
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    share = (losses[a] - target) / (losses[a] - losses[b])
    return a * (b / a) ** share

# %% wrong: the longest where none reaches it
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return b

# %% wrong: None for the shortest
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return None
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: a line through the first and last run
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    a, b = budgets[0], budgets[-1]
    if losses[a] <= target:
        return a
    if min(losses.values()) > target:
        return None
    share = (losses[a] - target) / (losses[a] - losses[b])
    return a * (b / a) ** share

# %% wrong: must be strictly below
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] < target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: from the best run so far
import math


def steps_to(target, losses):
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            a = min(budgets[: budgets.index(b)], key=losses.get)
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None

# %% wrong: np.interp, which needs losses that fall
import numpy as np


def steps_to(target, losses):
    budgets = sorted(losses, reverse=True)
    values = [losses[budget] for budget in budgets]
    if values[-1] <= target:
        return budgets[-1]
    if min(values) > target:
        return None
    return float(np.exp(np.interp(target, values, np.log(budgets))))

# %% wrong: np.interp over the sorted losses
import numpy as np


def steps_to(target, losses):
    budgets = sorted(losses, key=losses.get)
    values = [losses[budget] for budget in budgets]
    if losses[min(losses)] <= target:
        return min(losses)
    if min(values) > target:
        return None
    return float(np.exp(np.interp(target, values, np.log(budgets))))
