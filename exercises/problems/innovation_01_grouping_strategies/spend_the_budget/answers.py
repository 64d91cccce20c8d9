"""Answers to `spend_the_budget`: the starter, right ones and wrong ones."""

# %% starter
def spend_the_budget(damage, levels, bits):
    ...

# %% solution
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% right: all steps sorted once, as a tensor
import torch


def spend_the_budget(damage, levels, bits):
    steps = []
    for b in range(damage.shape[1]):
        for i in range(len(levels) - 1):
            cost = levels[i + 1] - levels[i]
            steps.append(((damage[i, b] - damage[i + 1, b]).item() / cost, b, i, cost))
    at = [0] * damage.shape[1]
    left = int((bits - levels[0]) * len(at) + 1e-6)
    for _, b, i, cost in sorted(steps, reverse=True):
        if at[b] == i and cost <= left:
            at[b], left = i + 1, left - cost
    return torch.tensor([levels[i] for i in at])

# %% wrong: damage per step, regardless of cost
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block])
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: stops at the first step that does not fit
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels):
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        if levels[level[best] + 1] - levels[level[best]] > left:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: the most damaged block first
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = damage[at, block]
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: equal bits for all
def spend_the_budget(damage, levels, bits):
    fits = max(b for b in levels if b <= bits)
    return [fits] * damage.shape[1]

# %% wrong: core and dynamic: all or nothing
def spend_the_budget(damage, levels, bits):
    order = damage[0].argsort(descending=True)
    core = int((bits - levels[0]) * len(order) / (levels[-1] - levels[0]))
    given = damage.new_full((len(order),), levels[0])
    given[order[:core]] = levels[-1]
    return given

# %% wrong: spends when there is nothing to spend
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1.0
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: half a bit too much
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 0.5
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: rounded to whole bits
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = round((bits - levels[0]) * len(level))
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: the budget rounded up
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = -(-(bits - levels[0]) * len(level) // 1)
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: the budget truncated
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = int(bits * len(level)) - levels[0] * len(level)
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: no tolerance for rounding
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level)
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: levels instead of bits
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return level
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1

# %% wrong: the lowest bits forgotten in the budget
def spend_the_budget(damage, levels, bits):
    level = [0] * damage.shape[1]
    left = bits * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1
