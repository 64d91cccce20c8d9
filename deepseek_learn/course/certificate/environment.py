"""The environment in which a portfolio was made, as the learner states it.

The tolerance of a repeated run depends on it; see `agreement`.
"""

import importlib.metadata
import platform

from ... import __version__
from ...escaping import printable
from .learner import read_json
from .portfolio import Portfolio
from .refusal import Refused

# matplotlib no longer matters, but portfolios state it, and the fields are fixed
PACKAGES = ("torch", "numpy", "matplotlib")


def environment() -> dict[str, str]:
    """Return the versions and the processor, on which the results may depend."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    facts = {"python": platform.python_version(), "library": __version__}
    return facts | versions | {"processor": _processor(), "system": platform.system()}


def check_environment(portfolio: Portfolio) -> dict[str, str]:
    """Return the recorded environment.

    Raises:
        Refused: if it has other fields, or values that are not short, visible text.
    """
    record = read_json(portfolio, "environment.json", set(environment()))
    for value in record.values():
        if not isinstance(value, str) or printable(value) != value:
            raise Refused("malformed", file="environment.json")
    return record


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
