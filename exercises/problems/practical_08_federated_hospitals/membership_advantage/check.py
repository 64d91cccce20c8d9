"""The best threshold attack on the membership of patients."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "advantage")
    cases = [
        (np.array([0.1, 0.2]), np.array([0.9, 1.0, 1.1])),  # told apart
        (np.array([0.9, 1.0]), np.array([0.1, 0.2])),  # the wrong way round
        (np.array([0.5, 0.5]), np.array([0.5])),  # all alike
        (np.array([0.2, 0.7]), np.array([0.9])),
    ]
    for _ in range(10):
        a, b = (int(n) for n in rng.integers(5, 60, 2))
        shift = rng.uniform(0, 1.5)
        cases.append((rng.normal(0, 1, a) ** 2, (rng.normal(shift, 1, b)) ** 2))
    cases.append((rng.integers(0, 4, 9) / 10, rng.integers(1, 5, 14) / 10))  # ties
    for members, others in cases:
        call = f"advantage({len(members)} members, {len(others)} others)"
        got = expect.call(answer, members.copy(), others.copy())
        value = float(expect.shape(got, (), call))
        compare(value, members, others, call)


def gains(members: np.ndarray, others: np.ndarray, sign: int = 1) -> np.ndarray:
    t = np.concatenate([members, others])[:, None]
    a, b = sign * members <= sign * t, sign * others <= sign * t
    return a.mean(1) - b.mean(1)


def compare(got: float, members: np.ndarray, others: np.ndarray, call: str) -> None:
    want = max(0.0, float(gains(members, others).max()))
    if abs(got - want) < 1e-6:
        return
    t = np.concatenate([members, others])[:, None]
    counts = (members <= t).sum(1) - (others <= t).sum(1)
    reverse = max(0.0, float(gains(members, others, -1).max()))
    mean = members.mean()
    guesses = {
        "reverse": reverse,
        "either": max(want, reverse),
        "accuracy": (1 + want) / 2,
        "counts": max(0.0, counts.max() / len(t)),
        "mean": max(0.0, float((members <= mean).mean() - (others <= mean).mean())),
    }
    matches = [name for name, value in guesses.items() if abs(got - value) < 1e-6]
    key = matches[0] if len(matches) == 1 else "other"
    raise Failed(key, call=call, got=got, want=want)
