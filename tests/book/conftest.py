"""The whole book, built once for all its tests."""

from pathlib import Path

import pytest

from tests.services import need


@pytest.fixture(scope="session")
def book(request, tmp_path_factory) -> Path:
    """The folder of the built pages."""
    for package in ("jupyter_book", "sphinx"):
        need(package)
    from deepseek_learn.course.authoring.book import build

    out = tmp_path_factory.mktemp("book") / "html"
    build(request.config.rootpath, out)
    return out
