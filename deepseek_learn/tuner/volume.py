"""The hypervolume of a study, relative to the box from the best to the worst values."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .pareto import hypervolume
from .results import SearchResults, Solution

LARGEST = np.finfo(float).max


def share(
    study: SearchResults, reference: Mapping | None, ideal: Mapping | None
) -> float:
    """Return the dominated fraction of the box; see `Study.hypervolume`."""
    if not study.feasible:
        return 0.0
    best, worst = box(study, reference, ideal)
    scaled = _scaled(study, study.front, best, worst)
    return hypervolume(scaled, np.ones(len(best)))


def history(study: SearchResults) -> pd.Series:
    """Return the dominated fraction after each trial; see `Study.history`."""
    if not study.feasible:
        return pd.Series(dtype=float)
    best, worst = box(study)
    scaled = _scaled(study, study.feasible, best, worst)
    row_by_number = {s.number: i for i, s in enumerate(study.feasible)}
    shares, front, volume = {}, np.empty((0, len(best))), 0.0
    for trial in study.trials:
        if trial.number in row_by_number:
            point = scaled[row_by_number[trial.number]]
            if not (front <= point).all(1).any():  # the point is on the front so far
                front = np.vstack([front[~(point <= front).all(1)], point])
                volume = hypervolume(front, np.ones(len(best)))
        shares[trial.number] = volume
    return pd.Series(shares).rename_axis("number")


def box(
    study: SearchResults, reference: Mapping | None = None, ideal: Mapping | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ideal and reference corners of the box, each of shape `[M]`.

    The values of maximized objectives are negated.
    """
    losses = study.losses(study.feasible)
    best, worst = losses.min(0), losses.max(0)
    span = np.where(worst > best, worst / 2 - best / 2, 0.5)  # halve to avoid overflow
    extended_worst = 2 * np.minimum(worst / 2 + 0.1 * span, LARGEST / 2)
    worst = _corner(study, "reference", reference, extended_worst)
    best = _corner(study, "ideal", ideal, best)
    if not (best < worst).all():
        raise ValueError(
            f"ideal must be better than reference in every objective; got {ideal!r} and "
            f"{reference!r}."
        )
    return best, worst


def _corner(
    study: SearchResults, argument: str, values: Mapping | None, default: np.ndarray
) -> np.ndarray:
    if values is None:
        return default
    names = study.goals.names
    if set(values) != set(names):
        raise ValueError(
            f"{argument} must have a value for each of {list(names)}; got {values!r}."
        )
    return np.array([float(values[name]) for name in names]) * study.goals.signs


def _scaled(
    study: SearchResults,
    solutions: tuple[Solution, ...],
    best: np.ndarray,
    worst: np.ndarray,
) -> np.ndarray:
    """Scale the losses so that the box becomes a unit cube with the ideal point at 0.

    Without scaling, values as small as 1e-6 J would lose precision.
    """
    losses, best, worst = study.losses(solutions) / 2, best / 2, worst / 2
    return np.maximum((losses - best) / (worst - best), 0)
