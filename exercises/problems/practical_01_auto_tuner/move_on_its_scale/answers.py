"""Answers to `move_on_its_scale`: the starter, right ones and wrong ones."""

# %% starter
import math


def mutate(value, low, high, log, whole, step):
    ...

# %% solution
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved

# %% right: by a power of the range
import math


def mutate(value, low, high, log, whole, step):
    if log:
        moved = value * (high / low) ** step
    else:
        moved = value + step * (high - low)
    moved = min(max(moved, low), high)
    return math.floor(moved + 0.5) if whole else moved

# %% wrong: always linear
import math


def mutate(value, low, high, log, whole, step):
    scale = float if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = moved
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved

# %% wrong: leaves the range
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + place * (b - a)
    moved = math.exp(moved) if log else moved
    return round(moved) if whole else moved

# %% wrong: whole numbers not rounded
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return moved

# %% wrong: half added, then truncated
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return int(moved + 0.5) if whole else moved

# %% wrong: moves by at least one
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    if not whole:
        return moved
    if round(moved) != value:
        return round(moved)
    return min(max(value + (1 if step > 0 else -1), low), high)

# %% wrong: the logarithm rounded
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(round(moved)) if log else round(moved)
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved

# %% wrong: wrong direction for negative steps
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + abs(step)
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved

# %% wrong: rounded down
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return int(moved) if whole else moved

# %% wrong: the step added to the logarithm itself
import math


def mutate(value, low, high, log, whole, step):
    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) + step - a) / (b - a)
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved
