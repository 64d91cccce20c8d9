"""Records on a regular grid of ten minutes."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

STEP = np.timedelta64(10, "m")


def check(answer, rng) -> None:
    expect.function(answer, "regular")
    for day in ("2014-03-30", "2015-10-25", "2015-02-27"):
        time, values = records(rng, day)
        call = f"regular({len(time)} records from {day})"
        got = expect.call(answer, time.copy(), values.copy())
        grid, filled = expect.parts(got, 2, call)
        compare_grid(grid, time, call)
        want = np.arange(time.min(), time.max() + STEP, STEP)
        compare(expect.shape(filled, want.shape, call), want, time, values, call)


def records(rng, day: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a day's records: an hour twice, some lost, some twice, in any order."""
    time = np.datetime64(day, "m") + np.arange(144) * STEP
    values = np.round(rng.uniform(-5, 2050, 144), 1)
    values[rng.choice(144, 5, replace=False)] = np.nan
    hour = np.arange(6, 12)
    rows = [(time, values), (time[hour], np.round(rng.uniform(0, 2050, 6), 1))]
    twice = rng.choice(np.arange(20, 140), 12, replace=False)
    rows.append((time[twice], values[twice].copy()))
    rows[2][1][:3] = np.nan  # of these, one copy was not recorded
    time, values = (np.concatenate(each) for each in zip(*rows, strict=True))
    lost = np.isin(time, rng.choice(time[1:143], 9, replace=False))
    order = rng.permutation(np.flatnonzero(~lost))
    return time[order], values[order]


def compare_grid(grid, time: np.ndarray, call: str) -> None:
    want = np.arange(time.min(), time.max() + STEP, STEP)
    try:
        got = np.asarray(grid).astype("datetime64[m]").ravel()
    except (TypeError, ValueError):
        got = np.array([], "datetime64[m]")
    if got.shape != want.shape:
        ends = {"first": str(want[0]), "last": str(want[-1])}
        raise Failed("grid", call=call, want=len(want), got=len(got), **ends)
    if (got != want).any():
        index = int(np.argmax(got != want))
        raise Failed(
            "step", call=call, index=index, got=str(got[index]), want=str(want[index])
        )


def compare(filled, grid: np.ndarray, time: np.ndarray, values, call: str) -> None:
    for stamp, got in zip(grid, filled, strict=True):
        own = np.unique(values[(time == stamp) & np.isfinite(values)])
        facts = {"call": call, "stamp": str(stamp), "got": float(got)}
        if len(own) > 1 and np.isfinite(got):
            raise Failed("different", values=", ".join(map(str, own)), **facts)
        want = own[0] if len(own) == 1 else np.nan
        near = abs(got - want) <= 1e-6 * max(1, abs(want))
        if not (near or (np.isnan(got) and np.isnan(want))):
            raise Failed("value", want=str(want), **facts)
