"""A real browser for the tests of the book and of JupyterLab."""

import pytest

from tests.services import chromium_path, need


# By module: while it is open, Playwright keeps an event loop running in this thread,
# in which neither a second Playwright nor asyncio.run could start.
@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, the system's own."""
    path = chromium_path()
    with need("playwright.sync_api").sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()
