"""Answers to `follow_the_light`: the starter, right ones and wrong ones."""

# %% starter
def first_alarm(values, mean, deviation, weight, limit):
    ...

# %% solution
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return None

# %% right: the variance by its own recursion
def first_alarm(values, mean, deviation, weight, limit):
    z, variance = 0.0, 0.0
    for t in range(len(values)):
        z = (1 - weight) * z + weight * (values[t] - mean) / deviation
        variance = (1 - weight) ** 2 * variance + weight**2
        if z * z > limit**2 * variance:
            return t + 1

# %% right: in NumPy, with the weights written out
import numpy as np


def first_alarm(values, mean, deviation, weight, limit):
    t = np.arange(1, len(values) + 1)
    age = t[:, None] - t[None]
    weights = np.where(age >= 0, weight * (1 - weight) ** np.maximum(age, 0.0), 0)
    z = weights @ (np.asarray(values) - mean)
    sigma = deviation * np.sqrt((weights**2).sum(1))
    alarms = np.flatnonzero(np.abs(z) > limit * sigma)
    return int(t[alarms[0]]) if len(alarms) else None

# %% right: with pandas
import pandas as pd


def first_alarm(values, mean, deviation, weight, limit):
    z = pd.Series([mean, *values]).ewm(alpha=weight, adjust=False).mean()
    t = pd.Series(range(len(z)))
    sigma = deviation * (weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))) ** 0.5
    alarms = t[(z - mean).abs() > limit * sigma]
    alarms = alarms[alarms > 0]
    return int(alarms.iloc[0]) if len(alarms) else None

# %% wrong: the limits that are reached in the end
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        if abs(z - mean) > limit * deviation * (weight / (2 - weight)) ** 0.5:
            return t
    return None

# %% wrong: only upwards
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if z - mean > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: only downwards, because lamps get dimmer
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if mean - z > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: starts at the first value
def first_alarm(values, mean, deviation, weight, limit):
    z = values[0]
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: counts from zero
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t + 2))
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: the exponent t in place of 2 t
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** t)
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: each value alone, against three sigma
def first_alarm(values, mean, deviation, weight, limit):
    for t, value in enumerate(values, 1):
        if abs(value - mean) > limit * deviation:
            return t
    return None

# %% wrong: the average against the limits of a single value
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        if abs(z - mean) > limit * deviation:
            return t
    return None

# %% wrong: the weight on the old average
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z = weight * z + (1 - weight) * value
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return None

# %% wrong: the last alarm
def first_alarm(values, mean, deviation, weight, limit):
    z, alarm = mean, None
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if abs(z - mean) > limit * deviation * part**0.5:
            alarm = t
    return alarm

# %% wrong: zero in place of None
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        part = weight / (2 - weight) * (1 - (1 - weight) ** (2 * t))
        if abs(z - mean) > limit * deviation * part**0.5:
            return t
    return 0

# %% wrong: an average at the limit is an alarm
def first_alarm(values, mean, deviation, weight, limit):
    z = mean
    for t, value in enumerate(values, 1):
        z += weight * (value - z)
        known = 1 - (1 - weight) ** (2 * t)
        sigma = deviation * (weight / (2 - weight) * known) ** 0.5
        if abs(z - mean) >= limit * sigma:
            return t
    return None
