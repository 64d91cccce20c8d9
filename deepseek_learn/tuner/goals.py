"""The goals of a search: the numbers to minimize, to maximize and to limit."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from ..measure.measured import Measured
from .errors import ObjectiveError

Direction = Literal["minimize", "maximize"]  # as Optuna spells them
MINIMIZE: Direction = "minimize"
MAXIMIZE: Direction = "maximize"
RESERVED = ("number", "state", "on_front", "feasible", "seconds")


@dataclass(frozen=True)
class Goals:
    """The names of the objectives, and the limits.

    Attributes:
        minimize, maximize: the names of the objectives. The minimized ones always come
            first.
        limits: a dictionary of upper bounds, which may include objectives.
    """

    minimize: tuple[str, ...]
    maximize: tuple[str, ...]
    limits: dict[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return self.minimize + self.maximize

    @property
    def directions(self) -> list[Direction]:
        """The direction of each objective, as Optuna spells it."""
        small, large = len(self.minimize), len(self.maximize)
        return [MINIMIZE] * small + [MAXIMIZE] * large

    @property
    def signs(self) -> np.ndarray:
        """The sign of each objective, a float array of shape `[M]`.

        It is 1 for a minimized objective and -1 for a maximized one.
        """
        return np.array([1.0] * len(self.minimize) + [-1.0] * len(self.maximize))

    def to_dict(self) -> dict[str, Any]:
        """Return the goals as a dictionary for storage; `Goals.of` reads it back."""
        return {"minimize": [*self.minimize], "maximize": [*self.maximize]} | {
            "limits": self.limits
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Goals":
        small, large = tuple(kept["minimize"]), tuple(kept["maximize"])
        return cls(small, large, dict(kept["limits"]))


def read_goals(
    minimize: Iterable[str],
    maximize: Iterable[str],
    limits: Mapping[str, float] | None,
    hyperparameters: Iterable[str],
) -> Goals:
    """Check the goals passed to `AutoTuner`, and return them.

    Raises:
        ValueError: if there is no objective, if a name is duplicated, if a name is
            already used by a hyperparameter or a column of `Study.to_frame`, or if a
            limit is not a finite number.
    """
    bounds = {name: _bound(name, bound) for name, bound in (limits or {}).items()}
    goals = Goals(_names("minimize", minimize), _names("maximize", maximize), bounds)
    if not goals.names:
        raise ValueError(
            "minimize and maximize must name at least one objective; got none."
        )
    duplicates = sorted({n for n in goals.names if goals.names.count(n) > 1})
    if duplicates:
        raise ValueError(
            f"minimize and maximize must name each objective once; got {duplicates} twice."
        )
    check_names(goals, hyperparameters)
    return goals


def check_names(goals: Goals, hyperparameters: Iterable[str]) -> None:
    """Check that each column of `Study.to_frame` gets a name of its own.

    Raises:
        ValueError: if a name is used twice.
    """
    conflicts = {*hyperparameters, *RESERVED} & {*goals.names, *goals.limits}
    conflicts |= {*hyperparameters} & {*RESERVED}
    if conflicts:
        raise ValueError(
            f"objectives and limits must not have the name of a hyperparameter or of a "
            f"column in the study's table; got {sorted(conflicts)}."
        )


def _names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a tuple; an iterator is read only once.

    A set is rejected, because the order of its names differs between processes.
    """
    if isinstance(names, Iterable) and not isinstance(names, str | set | frozenset):
        names = tuple(names)
        if all(isinstance(name, str) for name in names):
            return names
    raise ValueError(f"{argument} must be a tuple of names; got {names!r}.")


def read_returned(
    goals: Goals, returned: Any, hyperparameters: Iterable[str] = ()
) -> dict[str, Measured]:
    """Check the output of an objective, and convert its numbers to `Measured`.

    The objectives come first, followed by the limits. Any other names are notes, which
    are stored and shown in the table, but not optimized.

    Raises:
        ObjectiveError: if the output is not a mapping from names to numbers, if an
            objective or a limit is missing, or if a name is already used by a
            hyperparameter or a column of the table.
    """
    names = dict.fromkeys((*goals.names, *goals.limits))
    if not isinstance(returned, Mapping):
        raise ObjectiveError(
            f"the objective must return a dictionary with {sorted(names)}; got "
            f"{_short(returned)}."
        )
    missing = sorted(set(names) - set(returned))
    if missing:
        raise ObjectiveError(
            f"the objective must return {sorted(names)}; {missing} are missing from "
            f"{sorted(map(str, returned))}."
        )
    for name in {*hyperparameters, *RESERVED} & set(returned):
        raise ObjectiveError(
            f"the objective must not return {name!r}, which is the name of a "
            f"hyperparameter or of a column in the study's table."
        )
    ordered = [*names, *(name for name in returned if name not in names)]
    return {str(name): _measured(name, returned[name]) for name in ordered}


def not_finite(goals: Goals, results: Mapping[str, Measured]) -> dict[str, float]:
    """Return the objectives and limits that are NaN or infinite; notes are ignored."""
    names = {*goals.names, *goals.limits} & set(results)
    values = {n: results[n].value for n in results if n in names}
    return {n: value for n, value in values.items() if not math.isfinite(value)}


def _bound(name: str, bound: Any) -> float:
    number = isinstance(bound, Real) and not isinstance(bound, bool)
    if not number or not math.isfinite(bound):
        raise ValueError(f"limits[{name!r}] must be a finite number; got {bound!r}.")
    return float(bound)


def _measured(name: str, value: Any) -> Measured:
    if isinstance(value, Measured):
        return value
    try:
        return Measured(_number(value))
    except (TypeError, ValueError):
        raise ObjectiveError(
            f"the objective must return numbers; got {_short(value)} for {name!r}."
        ) from None


def _number(value: Any) -> float:
    if isinstance(value, str):  # float() would accept "3"
        raise TypeError(f"value must be a number; got {value!r}")
    return float(value)


def _short(value: Any) -> str:
    representation = repr(value)
    return representation if len(representation) <= 60 else representation[:57] + "..."
