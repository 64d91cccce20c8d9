"""Whole numbers as arguments: Python's and NumPy's, no others."""

from numbers import Integral
from typing import Any


def whole_number(name: str, value: Any, least: int) -> int:
    """`value` as Python's int.

    Raises:
        ValueError: for anything but a whole number of at least `least`.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least:
        wanted = "above 0" if least == 1 else f"of at least {least}"
        raise ValueError(f"{name} must be a whole number {wanted}; got {value!r}.")
    return int(value)


def check_run(
    trials: Any, seconds: Any, patience: Any, timeout: Any, n_jobs: Any
) -> tuple[int | None, int | None, int]:
    """The arguments of `AutoTuner.run`: trials, patience and n_jobs, checked."""
    if trials is None and seconds is None and patience is None:
        raise ValueError("trials, seconds or patience must be given; got none of them.")
    for name, value in (("seconds", seconds), ("timeout", timeout)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")
    counts = {"trials": trials, "patience": patience}
    some = [n if n is None else whole_number(k, n, 1) for k, n in counts.items()]
    return *some, -1 if n_jobs == -1 else whole_number("n_jobs", n_jobs, 1)
