"""The whole book, built once for all its tests, and the modules of its extension."""

import importlib
from pathlib import Path

import pytest

from tests.services import need


@pytest.fixture(scope="session")
def book(request, tmp_path_factory) -> Path:
    """The folder of the built pages."""
    for package in ("jupyter_book", "sphinx", "jieba"):
        need(package)
    from deepseek_learn.course.authoring.book import build

    out = tmp_path_factory.mktemp("book") / "html"
    build(request.config.rootpath, out)
    return out


@pytest.fixture
def extension(monkeypatch, request):
    """Import a module of the book's extension, which Sphinx loads from its folder."""
    need("myst_nb")
    monkeypatch.syspath_prepend(str(request.config.rootpath / "book" / "_ext"))
    return lambda name: importlib.import_module(f"offline_book.{name}")
