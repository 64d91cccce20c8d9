"""FROC and CPM, exactly as the evaluation script of the LUNA16 challenge defines them.

A detector marks points with a score. The FROC curve shows, for each threshold, the
sensitivity (the fraction of nodules that a mark hits) against the number of false marks per
scan. The CPM is its mean at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false marks per scan.
Sources: the challenge's script, `noduleCADEvaluationLUNA16.py`; Setio et al. 2017,
"Validation, comparison, and combination of algorithms for automatic detection of pulmonary
nodules in computed tomography images: The LUNA16 challenge", Medical Image Analysis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ... import measure

OPERATING_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MAX_MARKS = 100  # per scan
NO_DIAMETER_MM = 10.0  # of an annotation with a negative diameter


@dataclass(frozen=True, eq=False)
class Judged:
    """The marks of all scans after they were compared with the nodules.

    Attributes:
        hits: whether a mark hits a nodule, Boolean `[N]`; marks that count neither way
            are left out.
        scores: the marks' scores, `[N]`.
        scan: the index of the scan that each mark is in, `[N]`.
        nodules: the number of nodules in each scan, `[S]`.
        best: the highest score of a mark that hits, for each nodule of each scan in
            order; NaN for a nodule that was missed.
    """

    hits: np.ndarray
    scores: np.ndarray
    scan: np.ndarray
    nodules: np.ndarray
    best: np.ndarray

    def select(self, scans: np.ndarray) -> "Judged":
        """Return the judgment of some scans, which may be repeated."""
        order = np.argsort(self.scan, kind="stable")
        bounds = np.searchsorted(self.scan[order], [scans, scans + 1])
        index = _spans(*bounds)
        starts = np.cumsum([0, *self.nodules])
        own = _spans(starts[scans], starts[scans + 1])
        return Judged(
            self.hits[order][index],
            self.scores[order][index],
            np.repeat(np.arange(len(scans)), bounds[1] - bounds[0]),
            self.nodules[scans],
            self.best[own],
        )


def _spans(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return all integers from first[i] to last[i] - 1, for each i in turn."""
    lengths = last - first
    shift = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
    return np.arange(lengths.sum()) + shift


def judge(
    marks: Sequence[np.ndarray],
    nodules: Sequence[np.ndarray],
    excluded: Sequence[np.ndarray] | None = None,
) -> Judged:
    """Compare marks with nodules, scan by scan.

    A mark hits a nodule if its distance from the center is less than the radius. Of
    several marks that hit a nodule, the one with the highest score counts and the others
    are dropped. A mark in two nodules hits both. A mark that hits only an excluded finding
    is dropped. Of more than 100 marks in a scan, those with a score above that of the
    101st count.

    Args:
        marks: for each scan, (score, z, y, x) in mm, of shape `[N, 4]`.
        nodules: for each scan, (z, y, x, diameter) in mm, of shape `[M, 4]`; a negative
            diameter stands for 10 mm.
        excluded: findings that are neither nodules nor false, in the same form.

    Raises:
        ValueError: if the numbers of scans differ, if an array has another shape, if a
            score or a position is not finite, or if there is no nodule.
    """
    excluded = [np.zeros((0, 4))] * len(marks) if excluded is None else excluded
    marks = [_array("marks", each) for each in marks]
    nodules = [_array("nodules", each) for each in nodules]
    excluded = [_array("excluded", each) for each in excluded]
    if not len(marks) == len(nodules) == len(excluded):
        raise ValueError(
            f"marks, nodules and excluded must have one array per scan; got {len(marks)}, "
            f"{len(nodules)} and {len(excluded)}."
        )
    if not sum(map(len, nodules)):
        raise ValueError("nodules must contain at least one nodule.")
    hits, scores, scan, best = [], [], [], []
    for index, (m, n, e) in enumerate(zip(marks, nodules, excluded, strict=True)):
        m = _limited(m)
        near = _near(m, n)  # [N, M]
        for k in range(len(n)):
            own = m[near[:, k], 0]
            best.append(own.max() if len(own) else np.nan)
            if len(own):
                hits.append(True)
                scores.append(own.max())
                scan.append(index)
        false = m[~near.any(1) & ~_near(m, e).any(1), 0]
        hits += [False] * len(false)
        scores += [*false]
        scan += [index] * len(false)
    return Judged(
        np.array(hits, bool),
        np.array(scores, float),
        np.array(scan, int),
        np.array([len(n) for n in nodules]),
        np.array(best, float),
    )


def _array(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, float)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must have arrays of shape [N, 4]; got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite.")
    return array


def _limited(marks: np.ndarray) -> np.ndarray:
    if len(marks) <= MAX_MARKS:
        return marks
    threshold = np.sort(marks[:, 0])[::-1][MAX_MARKS]
    return marks[marks[:, 0] > threshold]


def _near(marks: np.ndarray, findings: np.ndarray) -> np.ndarray:
    """Return which marks are inside which findings, `[N, M]`."""
    diameters = np.where(findings[:, 3] < 0, NO_DIAMETER_MM, findings[:, 3])
    distance = marks[:, None, 1:] - findings[None, :, :3]
    return (distance**2).sum(-1) < (diameters / 2) ** 2


@dataclass(frozen=True, eq=False)
class Froc:
    """An FROC curve.

    Attributes:
        false_marks: false marks per scan, increasing, `[K]`.
        sensitivity: the fraction of nodules that are hit, `[K]`.
        thresholds: the score from which a mark counts, decreasing, `[K]`.
    """

    false_marks: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray

    def at(self, false_marks: float) -> float:
        """Return the sensitivity at a number of false marks per scan, interpolated."""
        return float(np.interp(false_marks, self.false_marks, self.sensitivity))

    @property
    def cpm(self) -> float:
        """The mean sensitivity at the seven operating points."""
        return float(np.mean([self.at(point) for point in OPERATING_POINTS]))

    def threshold(self, false_marks: float) -> float:
        """Return the lowest threshold with at most so many false marks per scan."""
        allowed = np.flatnonzero(self.false_marks <= false_marks)
        return float(self.thresholds[allowed[-1]])


def froc(judged: Judged) -> Froc:
    """Return the FROC curve: one point for each distinct score, and (0, 0).

    Raises:
        ValueError: if there is no nodule.
    """
    total = judged.nodules.sum()
    if not total:
        raise ValueError("judged must contain at least one nodule.")
    order = np.argsort(-judged.scores, kind="stable")
    hits, scores = judged.hits[order], judged.scores[order]
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    return Froc(
        np.append(0, np.cumsum(~hits)[last]) / len(judged.nodules),
        np.append(0, np.cumsum(hits)[last]) / total,
        np.append(np.inf, scores[last]),
    )


def bootstrap(
    judgments: Judged | Sequence[Judged],
    statistic: Callable[..., float],
    repeats: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a 95 % interval of a statistic by resampling whole scans.

    Samples without a nodule are drawn again.

    Args:
        judgments: of one detector, or of several on the same scans: each sample takes the
            same scans of all of them.
    """
    alone = isinstance(judgments, Judged)
    several = [judgments] if isinstance(judgments, Judged) else judgments
    nodules = several[0].nodules

    def of_scans(scans: np.ndarray) -> float:
        if not nodules[scans].sum():
            return float("nan")
        chosen = [each.select(scans) for each in several]
        return statistic(chosen[0] if alone else chosen)

    # "higher", as in the figures that were published
    interval = measure.bootstrap(
        of_scans, len(nodules), repeats=repeats, seed=seed, method="higher"
    )
    return interval.low, interval.high


def cpm(judged: Judged) -> float:
    """Return the CPM, a statistic for `bootstrap`."""
    return froc(judged).cpm


def sensitivity_at(false_marks: float) -> Callable[[Judged], float]:
    """Return the sensitivity at a number of false marks, a statistic for `bootstrap`."""
    return lambda judged: froc(judged).at(false_marks)
