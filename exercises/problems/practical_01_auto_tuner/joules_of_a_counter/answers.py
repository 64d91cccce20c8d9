"""Answers to `joules_of_a_counter`: the starter, right ones and wrong ones."""

# %% starter
def joules(readings, wraps_at):
    ...

# %% solution
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += (now - before) % wraps_at
    return total / 1e6

# %% right: in NumPy
import numpy as np


def joules(readings, wraps_at):
    return (np.diff(readings) % wraps_at).sum() / 1e6

# %% wrong: the last minus the first
def joules(readings, wraps_at):
    return (readings[-1] - readings[0]) / 1e6

# %% wrong: one wrap only
def joules(readings, wraps_at):
    return (readings[-1] - readings[0]) % wraps_at / 1e6

# %% wrong: wraps not corrected
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += now - before
    return total / 1e6

# %% wrong: negative steps dropped
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += max(now - before, 0)
    return total / 1e6

# %% wrong: wrap length off by one
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += now - before + (wraps_at - 1) * (now < before)
    return total / 1e6

# %% wrong: the counter restarted from zero
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += now if now < before else now - before
    return total / 1e6

# %% wrong: whole joules only
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += (now - before) % wraps_at
    return total // 10**6

# %% wrong: steps in float32
import numpy as np


def joules(readings, wraps_at):
    steps = np.diff(readings) % wraps_at
    return steps.astype(np.float32).sum() / 1e6

# %% wrong: steps in 32 bits
import numpy as np


def joules(readings, wraps_at):
    steps = np.diff(readings) % wraps_at
    return steps.astype(np.int32).sum() / 1e6

# %% wrong: modulo `wraps_at - 1`
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += (now - before) % (wraps_at - 1)
    return total / 1e6

# %% wrong: a full wrap where the counter did not change
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += now - before + wraps_at * (now <= before)
    return total / 1e6

# %% wrong: absolute differences
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += abs(now - before)
    return total / 1e6

# %% wrong: in microjoules
def joules(readings, wraps_at):
    total = 0
    for before, now in zip(readings, readings[1:]):
        total += (now - before) % wraps_at
    return total
