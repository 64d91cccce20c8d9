"""Choose the highest threshold that reaches a required recall."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

RECALLS = [0.5, 0.8, 0.9, 0.95, 1.0]
# (number of defective cells, recall): first, two cases where counting misses fails by
# rounding; then one defective cell, one of two, no miss allowed, and no sound cell
FIRST = [(5, 0.8), (10, 0.9), (1, 0.5), (2, 0.5), (8, 1.0), (200, 0.95)]


def check(answer, rng) -> None:
    expect.function(answer, "threshold_for_recall")
    for i in range(30):
        defective, recall = FIRST[i] if i < len(FIRST) else (None, None)
        # many ties in the second half; all scores are exact in float32
        steps = 1024 if i < 15 else 16
        probability, label, recall = draw(rng, defective, recall, steps)
        best = reference(probability, label, recall)
        got = expect.call(answer, probability, label, recall)
        got = expect.shape(got, (), "threshold_for_recall(...)")  # one number
        compare(float(got), best, probability[label == 1], recall)


def draw(rng, defective: int | None, recall: float | None, steps: int):
    n = int(rng.integers(20, 200))
    label = (rng.random(n) < 0.3).astype(int)
    label[:3], label[3:6] = 1, 0  # both classes occur
    if defective:
        label = (rng.permutation(n) < defective).astype(int)
    probability = np.round(rng.beta(1 + 2 * label, 3 - label) * steps) / steps
    return probability, label, recall or float(rng.choice(RECALLS))


def reference(probability, label, recall: float) -> float:
    """Try the score of each defective sample, from the highest down."""
    positive = probability[label == 1]
    for threshold in sorted(set(positive.tolist()), reverse=True):
        if reaches(positive, threshold, recall):
            return threshold
    raise AssertionError("the lowest score reaches every recall")


def reaches(positive, threshold: float, recall: float) -> bool:
    return (positive >= threshold).sum() >= recall * len(positive) - 1e-9


def compare(got: float, best: float, positive, recall: float) -> None:
    if not reaches(positive, got, recall):
        at = float((positive >= got).mean())
        raise Failed("too_high", got=got, recall=at, wanted=recall)
    if got < best:  # the scores are exact in float32, too
        raise Failed("too_low", got=got, want=best)
