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
    for block in range(change.shape[1]):
        for i in range(len(change)):
            compare_one(got[i, block], i, block, change, usable, call)


def compare_one(got, i: int, block: int, change, usable, call: str) -> None:
    own = change[i, block]
    facts: dict = {"call": call, "turbine": i, "block": block}
    others = np.delete(usable[:, block], i)
    others = others[np.isfinite(others)]
    missing = len(others) < 2 or np.isnan(own)
    if missing != bool(np.isnan(got)):
        right = "NaN" if missing else f"{own - np.median(others):.4f}"
        facts |= {"neighbors": len(others), "own": f"{own:g}", "want": right}
        raise Failed("gap", **facts, got=float(got))
    if missing:
        return
    want = float(own - np.median(others))
    if abs(got - want) <= 1e-9:
        return
    everyone = np.delete(change[:, block], i)
    guesses = {
        "self": own - np.nanmedian(usable[:, block]),
        "mean": own - np.mean(others),
        "alarmed": own - np.nanmedian(everyone),
    }
    for key, guess in guesses.items():
        if abs(got - guess) <= 1e-9:
            raise Failed(key, **facts)
    raise Failed("value", **facts, want=want, got=float(got))
