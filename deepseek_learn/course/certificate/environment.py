"""Where a portfolio was made: the learner's word, on which a tolerance depends."""

import importlib.metadata
import platform

from ... import __version__
from ...escaping import printable
from .contents import Contents
from .learner import read_json
from .refusal import Refused

# matplotlib no longer matters, but portfolios state it, and the fields are fixed
PACKAGES = ("torch", "numpy", "matplotlib")


def environment() -> dict[str, str]:
    """Return what the results may depend on: versions and the processor."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    facts = {"python": platform.python_version(), "library": __version__}
    return facts | versions | {"processor": _processor(), "system": platform.system()}


def check_environment(contents: Contents) -> dict[str, str]:
    """Return the recorded environment.

    Raises:
        Refused: if it has other fields, or values that are not short, visible text.
    """
    record = read_json(contents, "environment.json", set(environment()))
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
