"""For all tests: their kind, how two workers share them, English, and a real browser."""

import functools
import gc
import importlib.util
import sys
from pathlib import Path

import pytest

from deepseek_learn import catalog
from tests.lessons_of_a_change import chosen_tests
from tests.services import chromium_path, need

KINDS = ("unit", "notebook", "service")
# Fixtures that start, build or install something outside this process.
SERVICES = {"binary", "book", "browser", "database", "nbgrader", "wheel"}
# Two workers share out the files, so that a module's fixtures are set up once. Long tests
# without fixtures go one by one; the files that need the built book, all to one worker.
BOOK = "tests/book/"
SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
SHARED = ("harness", "models", "deploying")  # a test before may have loaded them
APART = ("tests/test_notebooks.py::test_runs_anew", "tests/course/test_problems.py")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config, items):
    """Mark each test with its kind; lessons go first, and the audit's short tests last.

    So both workers end at about the same time. Unless paths are given, tests marked
    `in_turn` run only if the change touches their file or it is its turn.
    """
    turns = sorted({item.path for item in items if item.get_closest_marker("in_turn")})
    now = (
        turns
        if config.args_source.name == "ARGS"
        else chosen_tests(turns, config.rootpath)
    )
    later = pytest.mark.skip(reason="in turn, and monthly: EVERY_NOTEBOOK=1")
    for item in items:
        if not any(map(item.get_closest_marker, KINDS)):
            uses_service = SERVICES.intersection(item.fixturenames)
            item.add_marker("service" if uses_service else "unit")
        if item.get_closest_marker("in_turn") and item.path not in now:
            item.add_marker(later)
    places = {APART[0]: -1, APART[1]: 1}
    items.sort(
        key=lambda item: sum(places[p] for p in APART if item.nodeid.startswith(p))
    )


def pytest_collection_finish():
    """Modules stay to the end: no collection of garbage need look at them again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()  # else extensions complain of leaks at the end


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # not by the number of tests

    class Shares(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return share(nodeid)

    return Shares(config, log)


def share(nodeid: str) -> str:
    """What one worker runs as a whole: this test alone, its file, or the book's tests."""
    if nodeid.startswith(BOOK):
        return BOOK
    return nodeid if nodeid.startswith(APART) else nodeid.split("::")[0]


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setattr(catalog, "_current", "en")


@pytest.fixture(autouse=True, scope="session")
def operators_are_translated_once():
    """The exporter does it anew for each model, which takes most of a small one's time."""
    try:
        from torch.onnx._internal._lazy_import import onnxscript_apis as apis
    except ImportError:  # another version of PyTorch: the tests only take longer
        return
    translate = "get_torchlib_ops"
    once = functools.cache(lambda: type(apis).__getattr__(apis, translate)())
    setattr(apis, translate, once)


@pytest.fixture(scope="module")
def short_measurements():
    """A deployment's speed is measured for three calls per round, not for 1/3 s."""
    from deepseek_learn.deploy import verification

    patch = pytest.MonkeyPatch()
    patch.setattr(verification, "SECONDS", 0.0)
    yield
    patch.undo()


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


@pytest.fixture
def script(monkeypatch):
    """Load a script as a module, with its folder on the path as when it runs."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in [name for name in sys.modules if name.split(".")[0] in SHARED]:
        monkeypatch.delitem(sys.modules, name)

    def load(name):
        path = SCRIPTS / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load
