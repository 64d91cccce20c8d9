"""How sure the detector is: probabilities, intervals of diameters, and thresholds.

All three are fitted on the validation scans, whose patients are neither in the training nor
in the test part.

Sources: Platt 1999, "Probabilistic Outputs for Support Vector Machines and Comparisons to
Regularized Likelihood Methods", Advances in Large Margin Classifiers; Angelopoulos and
Bates 2023, "Conformal Prediction: A Gentle Introduction", Foundations and Trends in Machine
Learning.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import special

from ...files import atomic_write
from .finding import Finding
from .measure import Judged, froc

COVERAGE = 0.9  # of the intervals of diameters
RATES = (0.125, 0.25, 0.5, 0.8, 1.0, 2.0, 4.0, 8.0)  # false marks per scan
CLIP = 1e-6


@dataclass(frozen=True)
class ScoreCalibration:
    """What turns scores into probabilities, and diameters into intervals.

    Attributes:
        slope, intercept: a score s stands for the probability
            `sigmoid(slope * logit(s) + intercept)` (Platt scaling).
        spread: an interval of a diameter d is from `d / spread` to `d * spread`; it
            contains the true one with a probability of at least 90 % (split conformal
            prediction).
        thresholds: false marks per scan on the validation scans → the lowest probability
            that stays below that number.
    """

    slope: float
    intercept: float
    spread: float
    thresholds: dict[float, float]

    def probability(self, score: np.ndarray | float) -> np.ndarray:
        """Return the probabilities that scores stand for."""
        clipped = np.clip(score, CLIP, 1 - CLIP)
        return special.expit(self.slope * special.logit(clipped) + self.intercept)

    def apply(self, finding: Finding) -> Finding:
        """Return a finding with its probability and the interval of its diameter."""
        diameter = finding.diameter_mm
        return replace(
            finding,
            probability=float(self.probability(finding.probability)),
            diameters_mm=(diameter / self.spread, diameter * self.spread),
        )

    def threshold(self, rate: float) -> float:
        """Return the probability from which a finding is reported.

        Raises:
            ValueError: if there is no threshold for this number of false marks.
        """
        if rate not in self.thresholds:
            known = ", ".join(f"{each:g}" for each in self.thresholds)
            raise ValueError(f"rate must be one of {known}; got {rate!r}.")
        return self.thresholds[rate]

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "ScoreCalibration":
        """Read a calibration."""
        facts = json.loads(Path(path).read_text())
        thresholds = {float(rate): t for rate, t in facts.pop("thresholds").items()}
        return cls(**facts, thresholds=thresholds)


def calibrate(
    judged: Judged, diameters: Sequence[tuple[float, float]]
) -> ScoreCalibration:
    """Fit a calibration.

    Args:
        judged: the marks in the validation scans.
        diameters: (true, predicted) in mm, for each nodule that was hit.

    Raises:
        ValueError: if there are no hits or no false marks, or fewer than nine diameters,
            which are too few for an interval of 90 %.
    """
    if judged.hits.all() or not judged.hits.any():
        raise ValueError("judged must contain hits and false marks.")
    slope, intercept = platt(judged.scores, judged.hits)
    spread = float(np.exp(conformal([abs(np.log(p / t)) for t, p in diameters])))
    fitted = ScoreCalibration(slope, intercept, spread, {})
    curve = froc(judged)
    scores = {rate: curve.threshold(rate) for rate in RATES}
    thresholds = {rate: float(fitted.probability(s)) for rate, s in scores.items()}
    return replace(fitted, thresholds=thresholds)


def platt(scores: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of hits on logits.

    As Platt proposed, the targets are (n + 1) / (n + 2) and 1 / (n + 2) in place of 1 and
    0, so that separable data give finite values.
    """
    from scipy import optimize  # slow to import, and only fitting needs it

    x = special.logit(np.clip(scores, CLIP, 1 - CLIP))
    positive, negative = hits.sum(), (~hits).sum()
    target = np.where(hits, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: np.ndarray) -> float:
        z = parameters[0] * x + parameters[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    slope, intercept = optimize.minimize(loss, [1.0, 0.0]).x
    return float(slope), float(intercept)


def conformal(errors: Sequence[float], coverage: float = COVERAGE) -> float:
    """Return a bound that a new error stays below with at least this probability.

    It is the k-th smallest error with k = ceil((n + 1) * coverage) (split conformal
    prediction).

    Raises:
        ValueError: if there are too few errors.
    """
    count = len(errors)
    rank = int(np.ceil((count + 1) * coverage - 1e-9))
    if rank > count:
        least = int(np.ceil(coverage / (1 - coverage) - 1e-9))
        raise ValueError(
            f"errors must have at least {least} values for a coverage of {coverage:g}; "
            f"got {count}."
        )
    return float(np.sort(errors)[rank - 1])


def calibration_error(
    probability: np.ndarray, hits: np.ndarray, bins: int = 10
) -> float:
    """Return the expected calibration error with bins of equal width.

    It is the mean over all marks of |fraction of hits - mean probability| in their bin.
    """
    index = np.minimum((probability * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    gap = np.abs(np.bincount(index, hits, bins) - np.bincount(index, probability, bins))
    return float(gap.sum() / counts.sum())
