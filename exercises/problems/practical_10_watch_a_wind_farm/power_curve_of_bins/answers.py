"""Answers to `power_curve_of_bins`: the starter, right ones and wrong ones."""

# %% starter
def power_curve(wind, power):
    ...

# %% solution
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power)
    usable &= ~((power <= 0) & (wind > 4.5))
    wind, power = wind[usable], power[usable]
    bins = np.floor(wind / 0.5)
    curve = np.full(50, np.nan)
    for k in range(50):
        inside = power[bins == k]
        if len(inside) >= 6:
            curve[k] = np.median(inside)
    return curve

# %% right: with pandas
import numpy as np
import pandas as pd


def power_curve(wind, power):
    table = pd.DataFrame({"wind": wind, "power": power}).dropna()
    table = table[(table["power"] > 0) | (table["wind"] <= 4.5)]
    groups = table.groupby(np.floor(2 * table["wind"]))["power"]
    medians = groups.median().where(groups.size() >= 6)
    return medians.reindex(range(50)).to_numpy()

# %% right: with plain lists
import math
from statistics import median


def power_curve(wind, power):
    bins = [[] for _ in range(50)]
    for v, p in zip(wind.tolist(), power.tolist()):
        if math.isnan(v) or math.isnan(p) or v >= 25:
            continue
        if v > 4.5 and p <= 0:
            continue
        bins[int(v * 2)].append(p)
    return [median(each) if len(each) > 5 else float("nan") for each in bins]

# %% wrong: the mean
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            power[usable & (bins == k)].mean()
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: stopped turbines count
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power)
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: a waiting turbine does not count
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & (power > 0)
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: bins of few samples
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).any()
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: more than 6 samples
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() > 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: bins around multiples of 0.5
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.round(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: the upper edge is in the bin
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.ceil(wind / 0.5) - 1
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: storms go to the last bin
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.clip(np.floor(wind / 0.5), 0, 49)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )

# %% wrong: 0 instead of NaN
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > 4.5))
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else 0.0
            for k in range(50)
        ]
    )

# %% wrong: 4.5 m/s counts as stopped
import numpy as np


def power_curve(wind, power):
    usable = np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind >= 4.5))
    bins = np.floor(wind / 0.5)
    return np.array(
        [
            np.median(power[usable & (bins == k)])
            if (usable & (bins == k)).sum() >= 6
            else np.nan
            for k in range(50)
        ]
    )
