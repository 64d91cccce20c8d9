"""Accuracy among the surest answers, and the threshold."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CASES = ((40, 0.8), (37, 0.8), (57, 0.4), (30, 1.0), (25, 0.01), (80, 0.33))
NEAR = 1e-5  # as near as float32 comes


def check(answer, rng) -> None:
    expect.function(answer, "selective")
    for count, coverage in CASES:
        chance, labels = reviews(rng, count, coverage)
        call = f"selective({count} chances, labels, {coverage:g})"
        got = expect.call(answer, chance.copy(), labels.copy(), coverage)
        compare(got, chance, labels, coverage, call)


def reviews(rng, count: int, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw chances and labels for which common mistakes give other numbers."""
    while True:
        sure = rng.choice(np.arange(2, 480), count, replace=False) / 1000
        chance = 0.5 + sure * rng.choice([-1, 1], count)
        if coverage == 1:
            chance[sure.argmin()] = 0.5  # the answer is "positive"
        right = rng.random(count) < 0.45 + sure
        labels = np.where(right, chance >= 0.5, chance < 0.5).astype(int)
        own = accuracies(chance, labels, coverage)
        others = [own[name] for name in ("everything", "unsure", "positive")]
        if coverage == 1 or all(abs(own["right"] - each) > 1e-3 for each in others):
            return chance, labels


def accuracies(chance, labels, coverage: float) -> dict[str, float]:
    number, hit = answered(len(chance), coverage), (chance >= 0.5) == (labels == 1)
    sure = np.abs(chance - 0.5)
    orders = {"right": -sure, "unsure": sure, "positive": -chance}
    result = {name: hit[np.argsort(o)[:number]].mean() for name, o in orders.items()}
    return result | {"everything": hit.mean()}


def answered(count: int, coverage: float) -> int:
    return max(1, round(coverage * count))


def compare(got, chance, labels, coverage: float, call: str) -> None:
    accuracy, threshold = (
        float(expect.shape(each, (), call)) for each in expect.parts(got, 2, call)
    )
    own = accuracies(chance, labels, coverage)
    if abs(accuracy - own["right"]) > NEAR:
        for name in ("everything", "unsure", "positive"):
            if abs(accuracy - own[name]) < NEAR:
                raise Failed(name, call=call, got=accuracy)
        raise Failed("accuracy", call=call, want=own["right"], got=accuracy)
    sure = np.sort(np.abs(chance - 0.5))[::-1]
    want = float(sure[answered(len(chance), coverage) - 1])
    if abs(threshold - want) <= NEAR:
        return
    if min(abs(threshold - 0.5 - want), abs(threshold - 0.5 + want)) < NEAR:
        raise Failed("chance", call=call, got=threshold)
    raise Failed("threshold", call=call, want=want, got=threshold)
