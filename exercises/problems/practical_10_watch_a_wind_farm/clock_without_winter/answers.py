"""Answers to `clock_without_winter`: the starter, right ones and wrong ones."""

# %% starter
def regular(time, values):
    ...

# %% solution
import numpy as np
import pandas as pd


def regular(time, values):
    step = np.timedelta64(10, "m")
    grid = np.arange(time.min(), time.max() + step, step)
    groups = pd.Series(values, index=time).groupby(level=0)
    low, high = groups.min(), groups.max()
    return grid, low.where(low == high).reindex(grid).to_numpy()

# %% right: without pandas
import math

import numpy as np


def regular(time, values):
    known, unclear = {}, set()
    for stamp, value in zip(time.tolist(), values.tolist()):
        if math.isnan(value):
            continue
        if known.setdefault(stamp, value) != value:
            unclear.add(stamp)
    step = np.timedelta64(10, "m")
    grid = np.arange(time.min(), time.max() + step, step)
    filled = [
        math.nan if stamp in unclear else known.get(stamp, math.nan)
        for stamp in grid.tolist()
    ]
    return grid, filled

# %% right: duplicates dropped, then those that are left twice
import pandas as pd


def regular(time, values):
    table = pd.DataFrame({"time": time, "value": values})
    table = table.dropna().drop_duplicates()
    table = table.drop_duplicates("time", keep=False).set_index("time")
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, table["value"].reindex(grid)

# %% wrong: the first one wins
import pandas as pd


def regular(time, values):
    series = pd.Series(values, index=time)
    series = series[~series.index.duplicated()]
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, series.reindex(grid)

# %% wrong: the mean of both
import pandas as pd


def regular(time, values):
    series = pd.Series(values, index=time).groupby(level=0).mean()
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, series.reindex(grid)

# %% wrong: everything that occurs twice is dropped
import pandas as pd


def regular(time, values):
    series = pd.Series(values, index=time)
    series = series[~series.index.duplicated(keep=False)]
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, series.reindex(grid)

# %% wrong: gaps are bridged
import pandas as pd


def regular(time, values):
    groups = pd.Series(values, index=time).groupby(level=0)
    low, high = groups.min(), groups.max()
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, low.where(low == high).reindex(grid).interpolate()

# %% wrong: only the stamps that exist
import pandas as pd


def regular(time, values):
    groups = pd.Series(values, index=time).groupby(level=0)
    low, high = groups.min(), groups.max()
    series = low.where(low == high).sort_index()
    return series.index.to_numpy(), series.to_numpy()

# %% wrong: without the last step
import numpy as np
import pandas as pd


def regular(time, values):
    grid = np.arange(time.min(), time.max(), np.timedelta64(10, "m"))
    groups = pd.Series(values, index=time).groupby(level=0)
    low, high = groups.min(), groups.max()
    return grid, low.where(low == high).reindex(grid).to_numpy()

# %% wrong: a missing copy makes it unclear
import pandas as pd


def regular(time, values):
    table = pd.DataFrame({"time": time, "value": values}).drop_duplicates()
    table = table.drop_duplicates("time", keep=False).set_index("time")
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, table["value"].reindex(grid)

# %% wrong: the whole day is thrown away
import numpy as np


def regular(time, values):
    step = np.timedelta64(10, "m")
    grid = np.arange(time.min(), time.max() + step, step)
    return grid, np.full(len(grid), np.nan)

# %% wrong: missing is 0
import pandas as pd


def regular(time, values):
    groups = pd.Series(values, index=time).groupby(level=0)
    low, high = groups.min(), groups.max()
    grid = pd.date_range(time.min(), time.max(), freq="10min")
    return grid, low.where(low == high).reindex(grid).fillna(0)
