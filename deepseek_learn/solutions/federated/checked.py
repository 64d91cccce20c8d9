"""Check the fields of settings: their types and ranges, in one sentence each."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
}


def check_fields(settings: Any) -> None:
    """Check that each field of a dataclass has its type; an int may stand for a float.

    Raises:
        ValueError: if one has another.
    """
    for field in fields(settings):
        value, kind = getattr(settings, field.name), field.type
        if kind is float and type(value) is int:
            continue
        good = type(value) is kind and (kind is not float or math.isfinite(value))
        if not good:
            raise ValueError(f"{field.name} must be {KINDS[kind]}; got {value!r}.")  # type: ignore[index]


def at_least(settings: Any, **least: float) -> None:
    """Check that fields are not below these numbers.

    Raises:
        ValueError: if one is.
    """
    for name, low in least.items():
        value = getattr(settings, name)
        if value < low:
            what = "positive" if low == math.ulp(0) else f"at least {low:g}"
            raise ValueError(f"{name} must be {what}; got {value!r}.")


def read(kind: type, config: Mapping[str, Any], what: str) -> Any:
    """Make a dataclass from a mapping.

    Raises:
        ValueError: if the mapping has a key that is no field, or is no mapping.
    """
    if not isinstance(config, Mapping):
        raise ValueError(
            f"{what} must be a mapping of names to values; got {config!r}."
        )
    choices = sorted(field.name for field in fields(kind))
    for name in config:
        if name not in choices:
            raise ValueError(f"{what} may contain {', '.join(choices)}; got {name!r}.")
    return kind(**config)
