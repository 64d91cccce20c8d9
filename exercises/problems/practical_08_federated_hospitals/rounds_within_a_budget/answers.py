"""Answers to `rounds_within_a_budget`: the starter, right ones and wrong ones."""

# %% starter
def rounds(noise, steps, epsilon, delta):
    ...

# %% solution
import math


def rounds(noise, steps, epsilon, delta):
    count = 0
    while True:
        rho = (count + 1) * steps / (2 * noise**2)
        if rho + 2 * math.sqrt(rho * math.log(1 / delta)) > epsilon:
            return count
        count += 1

# %% right: solved for rho
import math


def rounds(noise, steps, epsilon, delta):
    log = math.log(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return int(rho * 2 * noise**2 / steps)

# %% right: with numpy
import numpy as np


def rounds(noise, steps, epsilon, delta):
    rho = np.arange(1, 200_000) * steps / (2 * noise**2)
    spent = rho + 2 * np.sqrt(-rho * np.log(delta))
    return int((spent <= epsilon).sum())

# %% right: from both sides
from math import log, sqrt


def rounds(noise, steps, epsilon, delta):
    def fits(k):
        rho = k * steps / (2 * noise**2)
        return rho + 2 * sqrt(rho * log(1 / delta)) <= epsilon

    low, high = 0, 10**7
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

# %% wrong: epsilons add up
import math


def rounds(noise, steps, epsilon, delta):
    rho = steps / (2 * noise**2)
    return int(epsilon / (rho + 2 * math.sqrt(rho * math.log(1 / delta))))

# %% wrong: the round that exceeds it
import math


def rounds(noise, steps, epsilon, delta):
    count, spent = 0, 0.0
    while spent <= epsilon:
        count += 1
        rho = count * steps / (2 * noise**2)
        spent = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    return count

# %% wrong: a round is one step
import math


def rounds(noise, steps, epsilon, delta):
    log = math.log(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return int(rho * 2 * noise**2)

# %% wrong: steps instead of rounds, divided and rounded
import math


def rounds(noise, steps, epsilon, delta):
    log = math.log(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return round(rho * 2 * noise**2 / steps)

# %% wrong: the decimal logarithm
import math


def rounds(noise, steps, epsilon, delta):
    log = math.log10(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return int(rho * 2 * noise**2 / steps)

# %% wrong: the noise is not squared
import math


def rounds(noise, steps, epsilon, delta):
    log = math.log(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return int(rho * 2 * noise / steps)

# %% wrong: rho alone
def rounds(noise, steps, epsilon, delta):
    return int(epsilon * 2 * noise**2 / steps)
