"""For all tests: English at the start, and a real browser for those that need one."""

import pytest

from deepseek_learn import catalog
from tests.services import chromium_path, need


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setattr(catalog, "_current", "en")


# Module scope: while it is open, Playwright keeps an event loop running in this thread,
# in which neither a second Playwright nor asyncio.run could start.
@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, headless."""
    path = chromium_path()
    with need("playwright.sync_api").sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()
