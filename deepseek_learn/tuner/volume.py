"""How much of the box between the best and the worst values a study's front dominates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .pareto import hypervolume

LARGEST = np.finfo(float).max


def share(study: Any, reference: Mapping | None, ideal: Mapping | None) -> float:
    """See `Study.hypervolume`."""
    if not study.feasible:
        return 0.0
    best, worst = box(study, reference, ideal)
    scaled = _scaled(study, study.front, best, worst)
    return hypervolume(scaled, np.ones(len(best)))


def history(study: Any) -> pd.Series:
    """See `Study.history`."""
    if not study.feasible:
        return pd.Series(dtype=float)
    best, worst = box(study)
    scaled = _scaled(study, study.feasible, best, worst)
    place = {s.number: i for i, s in enumerate(study.feasible)}
    shares, front, so_far = {}, np.empty((0, len(best))), 0.0
    for trial in study.trials:
        if trial.number in place:
            point = scaled[place[trial.number]]
            if not (front <= point).all(1).any():  # it is on the front of its time
                front = np.vstack([front[~(point <= front).all(1)], point])
                so_far = hypervolume(front, np.ones(len(best)))
        shares[trial.number] = so_far
    return pd.Series(shares).rename_axis("number")


def box(
    study: Any, reference: Mapping | None = None, ideal: Mapping | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Its corners, ideal and reference, each float `[M]`, to be minimized."""
    losses = study.losses(study.feasible)
    best, worst = losses.min(0), losses.max(0)
    span = np.where(worst > best, worst / 2 - best / 2, 0.5)  # halves do not overflow
    further = 2 * np.minimum(worst / 2 + 0.1 * span, LARGEST / 2)
    worst = _corner(study, "reference", reference, further)
    best = _corner(study, "ideal", ideal, best)
    if not (best < worst).all():
        raise ValueError(
            f"ideal must be better than reference in every objective; got {ideal!r} and "
            f"{reference!r}."
        )
    return best, worst


def _corner(study: Any, argument: str, given: Mapping | None, default: np.ndarray):
    if given is None:
        return default
    names = study.goals.names
    if set(given) != set(names):
        raise ValueError(
            f"{argument} must have a value for each of {list(names)}; got {given!r}."
        )
    return np.array([float(given[name]) for name in names]) * study.goals.signs


def _scaled(study: Any, solutions: Any, best: np.ndarray, worst: np.ndarray):
    """In a box of 1, since values of 1e-6 J would lose digits; 0 is the ideal."""
    losses, best, worst = study.losses(solutions) / 2, best / 2, worst / 2
    return np.maximum((losses - best) / (worst - best), 0)
