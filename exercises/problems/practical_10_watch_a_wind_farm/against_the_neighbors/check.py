"""Deviations from the neighbors' median."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "deviations")
    for count in (4, 4, 5, 3, 6):
        change, alarmed = drawn(rng, count)
        call = f"deviations(change {list(change.shape)}, alarmed)"
        got = expect.call(answer, change.copy(), alarmed.copy())
        compare(expect.shape(got, change.shape, call), change, alarmed, call)


def drawn(rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return changes with gaps, and alarms, which begin in the fourth block."""
    change = np.round(rng.normal(0, 0.02, (count, 24)), 4)
    change[rng.random(change.shape) < 0.2] = np.nan
    alarmed = rng.random(change.shape) < 0.15
    alarmed[:, :4] = False
    change[:, 0] = np.arange(1, count + 1) / 10  # nothing is missing in these two
    change[:, 5] = np.arange(count, 0, -1) ** 2 / 100
    alarmed[:, 5] = False
    alarmed[0, 5] = True
    change[:, 6] = np.nan
    return change, alarmed


def compare(got, change: np.ndarray, alarmed: np.ndarray, call: str) -> None:
    usable = np.where(alarmed, np.nan, change)
    want, neighbors = deviations(change, usable)
    wrong = np.isnan(got) != np.isnan(want)
    if wrong.any():
        i, block = (int(n) for n in np.argwhere(wrong)[0])
        value = float(want[i, block])
        raise Failed(
            "gap", call=call, turbine=i, block=block, neighbors=int(neighbors[i, block]),
            own=f"{change[i, block]:g}", got=float(got[i, block]),
            want="NaN" if np.isnan(value) else f"{value:.4f}",
        )  # fmt: skip
    wrong = np.nan_to_num(np.abs(got - want)) > 1e-6
    if not wrong.any():
        return
    i, block = (int(n) for n in np.argwhere(wrong)[0])
    facts = {"call": call, "turbine": i, "block": block}
    with np.errstate(invalid="ignore"):
        for key, guess in guesses(change, usable).items():
            if np.nan_to_num(np.abs(got - guess)).max() <= 1e-6:
                raise Failed(key, **facts)
    raise Failed("value", **facts, want=float(want[i, block]), got=float(got[i, block]))


def deviations(change, usable, middle=np.nanmedian, itself=False) -> tuple:
    """Return the deviations, and how many neighbors there are."""
    result, counts = np.full(change.shape, np.nan), np.zeros(change.shape, int)
    for i in range(len(change)):
        others = np.delete(usable, i, 0)
        counts[i] = np.isfinite(others).sum(0)
        enough = counts[i] >= 2
        rows = usable if itself else others
        result[i, enough] = change[i, enough] - middle(rows[:, enough], 0)
    return result, counts


def guesses(change, usable) -> dict[str, np.ndarray]:
    return {
        "alarmed": deviations(change, change)[0],
        "mean": deviations(change, usable, np.nanmean)[0],
        "self": deviations(change, usable, itself=True)[0],
    }
