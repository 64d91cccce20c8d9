"""Services a test needs from the machine: if one is missing, it skips; in CI it fails."""

import importlib
import os
import shutil

import pytest


def absent(what: str) -> None:
    """Skip because `what` is missing, or fail under `REQUIRE_SERVICES=1`."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"REQUIRE_SERVICES=1, but {what}")
    pytest.skip(what)


def need(module: str):
    """The imported `module`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        absent(f"the package {module!r} is not installed")


def chromium_path() -> str:
    """The path of the system's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    absent("no Chromium or Chrome is on the PATH")
