"""Validate integer arguments, accepting both Python and NumPy integers."""

from numbers import Integral
from typing import Any


def whole_number(name: str, value: Any, least: int) -> int:
    """Return `value` as a Python integer.

    Raises:
        ValueError: if `value` is not an integer, or if it is less than `least`.
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        bound = "above 0" if least == 1 else f"of at least {least}"
        raise ValueError(f"{name} must be a whole number {bound}; got {value!r}.")
    return int(value)


def check_run(
    trials: Any, seconds: Any, patience: Any, timeout: Any, n_jobs: Any
) -> tuple[int | None, int | None, int]:
    """Check the arguments of `AutoTuner.run`.

    Returns:
        `trials`, `patience` and `n_jobs`, converted to Python integers.

    Raises:
        ValueError: if an argument is invalid, or if there is no stopping criterion.
    """
    if trials is None and seconds is None and patience is None:
        raise ValueError("trials, seconds or patience must be given; got none of them.")
    for name, value in (("seconds", seconds), ("timeout", timeout)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")
    return (
        None if trials is None else whole_number("trials", trials, 1),
        None if patience is None else whole_number("patience", patience, 1),
        -1 if n_jobs == -1 else whole_number("n_jobs", n_jobs, 1),
    )
