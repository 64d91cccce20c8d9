"""Convert the user's search space to Optuna distributions."""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from .engine import optuna
from .errors import TunerError

Number = optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution
Distribution = Number | optuna.distributions.CategoricalDistribution
Space = Mapping[str, Any] | Callable[["optuna.Trial"], object]
ACCEPTED = (
    'a list of choices, (low, high), (low, high, "log") or an Optuna distribution'
)


def read_space(space: Space) -> dict[str, Distribution]:
    """Convert the user's search space to a dictionary of Optuna distributions.

    Returns:
        The distributions, or an empty dictionary if `space` is a function.

    Raises:
        ValueError: if an entry is invalid. The message shows the entry and lists the
            accepted forms.
    """
    if callable(space):
        return {}
    if not isinstance(space, Mapping) or not space:
        raise ValueError(
            f"space must be a dictionary of at least one hyperparameter, where each "
            f"value is {ACCEPTED}, or a function of a trial; got {space!r}."
        )
    return {name: read_entry(name, entry) for name, entry in space.items()}


def define(
    space: Callable[["optuna.Trial"], object], trial: "optuna.Trial"
) -> dict[str, Any]:
    """Let a function suggest the hyperparameters of a trial, and return them.

    Raises:
        TunerError: if the function raises an error or suggests nothing.
    """
    try:
        space(trial)
    except optuna.TrialPruned:
        raise
    except Exception as error:
        raise TunerError(
            f"space(trial) raised {type(error).__name__}: {error}"
        ) from error
    if not trial.params:
        raise TunerError("space(trial) must suggest at least one hyperparameter.")
    return dict(trial.params)


def misfits(trial: Any) -> list[str]:
    """Return the queued values that the function of the space does not accept."""
    record = trial.study.get_trials(deepcopy=False)[trial.number]
    queued = record.system_attrs.get("fixed_params", {})
    return [
        name
        for name, value in queued.items()
        if name not in trial.params or not _inside(trial.distributions[name], value)
    ]


def check_config(
    space: Mapping[str, Distribution], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Check that `config` lies in the space, and return it as a plain dictionary.

    An empty space, that of a function, accepts any names and values for now.

    Raises:
        ValueError: if `config` is empty, or if one of its hyperparameters is unknown or
            out of range. The message names the hyperparameter.
    """
    if not config:
        raise ValueError("config must contain at least one hyperparameter; got none.")
    config = {name: _plain(value) for name, value in config.items()}
    for name, value in config.items():
        if not space:
            continue
        if name not in space:
            raise ValueError(
                f"config contains {name!r}, which is not in the space: {sorted(space)}."
            )
        if not _inside(space[name], value):
            raise ValueError(
                f"config[{name!r}] must be in {space[name]}; got {value!r}."
            )
    return config


def configurations(space: Mapping[str, Distribution]) -> float:
    """Return the number of configurations, which is inf for a continuous range.

    It is also inf for an empty space, that of a function.
    """
    if not space:
        return math.inf
    return math.prod(_values(distribution) for distribution in space.values())


def _values(distribution: Distribution) -> float:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return len(distribution.choices)
    low, high, step = distribution.low, distribution.high, distribution.step
    # Optuna has already rounded `high` down to the last step
    return math.inf if step is None else round((high - low) / step) + 1


def write_space(space: Mapping[str, Distribution]) -> dict[str, str]:
    """Convert each distribution to a JSON string so that spaces can be compared."""
    return {
        name: optuna.distributions.distribution_to_json(distribution)
        for name, distribution in space.items()
    }


def suggest(trial: Any, name: str, distribution: Distribution) -> Any:
    """Sample the value of one hyperparameter for an Optuna trial."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    is_int = isinstance(distribution, optuna.distributions.IntDistribution)
    draw = trial.suggest_int if is_int else trial.suggest_float
    ends = distribution.low, distribution.high
    return draw(name, *ends, step=distribution.step, log=distribution.log)


def read_entry(name: Any, entry: Any) -> Distribution:
    """Convert the user's entry for one hyperparameter to an Optuna distribution."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"names in space must be nonempty strings; got {name!r}.")
    kinds = optuna.distributions
    classes = (
        kinds.CategoricalDistribution,
        kinds.FloatDistribution,
        kinds.IntDistribution,
    )
    if isinstance(entry, classes):
        return entry
    if isinstance(entry, list):
        return kinds.CategoricalDistribution(_choices(name, [*map(_plain, entry)]))
    if isinstance(entry, tuple):
        return _range(name, entry)
    raise ValueError(f"space[{name!r}] must be {ACCEPTED}; got {entry!r}.")


def _choices(name: str, entry: list) -> list:
    plain = (str, int, float, bool, type(None))
    for choice in entry:
        if not isinstance(choice, plain):
            raise ValueError(
                f"space[{name!r}] contains {choice!r}, but choices must be strings, "
                f"numbers, True, False or None so that they can be stored; use names "
                f"as choices and look up the objects in the objective."
            )
    # Optuna would merge 1 and True, which are equal in Python, into one choice
    if not entry or len(set(entry)) < len(entry):
        raise ValueError(
            f"space[{name!r}] must contain at least one choice and no duplicates; "
            f"got {entry!r}."
        )
    return entry


def _range(name: str, entry: tuple) -> Distribution:
    ends, log = entry[:2], entry[2:] == ("log",)
    numbers = len(ends) == 2 and all(_is_number(end) for end in ends)
    if not numbers or len(entry) > 2 + log:
        raise ValueError(f"space[{name!r}] must be {ACCEPTED}; got {entry!r}.")
    low, high = ends
    integers = isinstance(low, Integral) and isinstance(high, Integral)
    above_zero = low > 0 or not log
    if not (low < high and above_zero and (integers or math.isfinite(high - low))):
        raise ValueError(
            f"space[{name!r}] must have low < high, both finite with a finite "
            f'difference, and low above 0 with "log"; got {entry!r}.'
        )
    if integers:
        return optuna.distributions.IntDistribution(int(low), int(high), log=log)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=log)


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python number, which any storage backend can save."""
    return value.item() if isinstance(value, np.generic) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _inside(distribution: Distribution, value: Any) -> bool:
    """Check whether a distribution contains a value (Optuna's own check is private)."""
    kinds = optuna.distributions
    if isinstance(distribution, kinds.CategoricalDistribution):
        typed_value = (type(value), value)
        return any(
            typed_value == (type(choice), choice) for choice in distribution.choices
        )
    if not _is_number(value):
        return False
    if isinstance(distribution, kinds.IntDistribution) and value != int(value):
        return False
    if not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / (distribution.step or 1)
    return distribution.step is None or math.isclose(steps, round(steps), abs_tol=1e-9)
