"""The whole book, built once for all tests of it; and a browser."""

from pathlib import Path

import pytest

from tests.services import chromium_path, need


@pytest.fixture(scope="session")
def book(request, tmp_path_factory) -> Path:
    """The folder of the built pages."""
    for package in ("jupyter_book", "sphinx"):
        need(package)
    from deepseek_learn.course.book import build

    out = tmp_path_factory.mktemp("book") / "html"
    build(request.config.rootpath, out)
    return out


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    path = chromium_path()
    with need("playwright.sync_api").sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()
