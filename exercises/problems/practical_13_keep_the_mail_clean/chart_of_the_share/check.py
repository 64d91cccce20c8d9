"""The cumulative sums of a change of the odds."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CASES = ((0.1, 2.0), (0.4, 3.0), (0.3, 0.5), (0.85, 0.25), (0.2, 4.0))


def check(answer, rng) -> None:
    expect.function(answer, "chart")
    fixed = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1], bool)
    compare(answer, fixed, 0.1, 2.0)
    compare(answer, ~fixed, 0.9, 0.5)
    for share, ratio in CASES:
        first = rng.random(60) < share
        odds = ratio * share / (1 - share)
        compare(
            answer, np.append(first, rng.random(40) < odds / (1 + odds)), share, ratio
        )


def steps(unwanted: np.ndarray, share: float, other: float) -> np.ndarray:
    bad, good = np.log(other / share), np.log((1 - other) / (1 - share))
    return np.array([bad if each else good for each in unwanted])


def sums(each: np.ndarray) -> np.ndarray:
    total, result = 0.0, []
    for value in each:
        total = max(0.0, total + value)
        result.append(total)
    return np.array(result)


def compare(answer, unwanted: np.ndarray, share: float, ratio: float) -> None:
    call = f"chart({len(unwanted)} verdicts, {share:g}, {ratio:g})"
    odds = ratio * share / (1 - share)
    own = steps(unwanted, share, odds / (1 + odds))
    want = sums(own)
    got = expect.shape(
        expect.call(answer, unwanted.copy(), share, ratio), want.shape, call
    )
    if np.allclose(got, want, atol=1e-5):
        return
    guesses = {"below": np.cumsum(own), "reset": np.maximum(0, np.cumsum(own))}
    if 0 < ratio * share < 1:
        guesses["odds"] = sums(steps(unwanted, share, ratio * share))
    guesses["reversed"] = sums(-own)
    for name, guess in guesses.items():
        if np.allclose(got, guess, atol=1e-5):
            raise Failed(name, call=call)
    place = int(np.argmax(~np.isclose(got, want, atol=1e-5)))
    facts = {"place": place, "want": float(want[place]), "got": float(got[place])}
    raise Failed("value", call=call, **facts)
