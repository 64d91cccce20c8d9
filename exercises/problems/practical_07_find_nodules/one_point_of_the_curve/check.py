"""The sensitivity at a rate of false marks."""

from collections.abc import Iterable

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

BEST = 0.99


def check(answer, rng) -> None:
    expect.function(answer, "sensitivity")
    cases = [crowded(), generous(), close(), fraction()]
    cases += [random_case(rng) for _ in range(12)]
    cases.append((np.zeros(0), np.zeros(0, bool), 3, 2, 1.0))
    for scores, hits, nodules, scans, rate in cases:
        call = f"sensitivity({len(scores)} marks, {nodules=}, {scans=}, {rate=})"
        got = expect.call(answer, scores.copy(), hits.copy(), nodules, scans, rate)
        value = float(expect.shape(got, (), call))
        compare(value, (scores, hits, nodules, scans, rate), call)


def generous() -> tuple:
    """All marks may be reported."""
    hits = np.array([True, False, True, False])
    return np.array([0.9, 0.8, 0.3, 0.7]), hits, 3, 2, 1.0


def crowded() -> tuple:
    """Five false marks share the highest score, so that no threshold is low enough."""
    scores = np.array([BEST, BEST, BEST, BEST, BEST, BEST, 0.5])
    hits = np.array([True, False, False, False, False, False, True])
    return scores, hits, 4, 2, 2.0


def close() -> tuple:
    """A hit and a false mark with almost the same score."""
    hits = np.array([True, False, True])
    return np.array([0.50003, 0.50001, 0.2]), hits, 2, 2, 0.25


def fraction() -> tuple:
    """Three quarters of a false mark are acceptable, so none is."""
    return np.array([0.9, 0.8]), np.array([False, True]), 1, 3, 0.25


def random_case(rng) -> tuple:
    nodules, scans = int(rng.integers(5, 30)), int(rng.integers(2, 9))
    found = int(rng.integers(2, nodules))
    false = int(rng.integers(2 * scans, 6 * scans))
    hits = rng.permutation(np.arange(found + false) < found)
    scores = np.where(hits, rng.beta(4, 2, len(hits)), rng.beta(2, 3, len(hits)))
    if rng.random() < 0.6:
        scores = np.round(scores, 1)  # with ties
    if rng.random() < 0.3:
        scores = 12 * scores - 6  # not every score is a probability
    return scores, hits, nodules, scans, float(rng.choice([0.25, 0.5, 0.8, 1, 2]))


def best(scores, hits, whole: int, allowed: Iterable[bool]) -> float:
    """The largest fraction of hits over the thresholds that are allowed."""
    counts = [(hits & (scores >= t)).sum() for t in thresholds(scores)]
    pairs = zip(counts, allowed, strict=True)
    return float(max((c for c, ok in pairs if ok), default=0) / whole)


def thresholds(scores: np.ndarray) -> np.ndarray:
    return np.unique(scores)[::-1]


def compare(got: float, case: tuple, call: str) -> None:
    scores, hits, nodules, scans, rate = case
    false = np.array([(~hits & (scores >= t)).sum() for t in thresholds(scores)])
    allowed = false <= rate * scans
    want = best(scores, hits, nodules, allowed)
    if abs(got - want) < 1e-6:
        return
    one_by_one = [
        np.cumsum(hits[o])[np.cumsum(~hits[o]) <= rate * scans]
        for o in (np.argsort(-scores, kind="stable"), np.lexsort((~hits, -scores)))
    ]
    last = int(allowed.sum())
    reported = scores >= (thresholds(scores)[last - 1] if last else np.inf)
    guesses = {
        "scans": [best(scores, hits, nodules, false <= rate)],
        "less": [best(scores, hits, nodules, false < rate * scans)],
        "found": [best(scores, hits, max(1, hits.sum()), allowed)],
        "precision": [float(hits[reported].mean())] if reported.any() else [],
        "ties": [float(max(n, default=0) / nodules) for n in one_by_one],
    }
    matches = [
        name
        for name, values in guesses.items()
        if any(abs(got - v) < 1e-6 for v in values)
    ]
    key = matches[0] if len(matches) == 1 else "other"
    raise Failed(key, call=call, got=got, want=want, rate=rate)
