"""Answers to `what_a_float_core_costs`: the starter, right ones and wrong ones."""

# %% starter
def bits_left(core, target, group_size):
    ...

# %% solution
def bits_left(core, target, group_size):
    left = 32 * (target - core) / (1 - core)
    bits = left - 16 / group_size
    return bits if bits >= 2 else None

# %% right: in float32
import numpy as np


def bits_left(core, target, group_size):
    core, target, group_size = np.float32([core, target, group_size])
    bits = np.float32(32) * (target - core) / (1 - core) - 16 / group_size
    if bits < 2:
        return None
    return np.array(bits)

# %% right: computed for a million weights
def bits_left(core, target, group_size):
    rest = 1e6 - 1e6 * core
    codes = 1e6 * target * 32 - 1e6 * core * 32 - rest / group_size * 16
    return None if codes / rest < 2 else codes / rest

# %% wrong: the scales forgotten
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core)
    return bits if bits >= 2 else None

# %% wrong: not divided by the remaining share
def bits_left(core, target, group_size):
    bits = 32 * (target - core) - 16 / group_size
    return bits if bits >= 2 else None

# %% wrong: a number instead of None
def bits_left(core, target, group_size):
    return 32 * (target - core) / (1 - core) - 16 / group_size

# %% wrong: the core's cost ignored
def bits_left(core, target, group_size):
    bits = 32 * target - 16 / group_size
    return bits if bits >= 2 else None

# %% wrong: scales for the core too
def bits_left(core, target, group_size):
    bits = (32 * (target - core) - 16 / group_size) / (1 - core)
    return bits if bits >= 2 else None

# %% wrong: rounded down
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return int(bits) if bits >= 2 else None

# %% wrong: rounded to three decimals
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return round(bits, 3) if bits >= 2 else None

# %% wrong: None only below 0
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits >= 0 else None

# %% wrong: None only below 1.99
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits >= 1.99 else None

# %% wrong: None at exactly 2
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits > 2 else None

# %% wrong: None without a core
def bits_left(core, target, group_size):
    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if core and bits >= 2 else None
