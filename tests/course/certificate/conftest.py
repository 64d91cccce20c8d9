"""A small portfolio: three tasks of points in the plane, made once, copied per test."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.course.certificate import (
    make,
    making,
    results,
    start,
)
from deepseek_learn.course.certificate.tasks import Draw, tasks
from deepseek_learn.course.problems import get
from deepseek_learn.sandbox import isolation
from tests.services import need

TASKS = ("rings_a", "rings_b", "rings_c")
# the nearest mean cannot tell rings, the distance from the center can
PROJECT = """
import numpy as np

def predict(x, y, test_x, seed, config):
    rng = np.random.default_rng(seed)
    radius = np.linalg.norm(test_x + rng.normal(0, config["noise"], test_x.shape), axis=1)
    return (radius > config["limit"]).astype(int)
"""
CONFIG = '{"limit": 1.5, "noise": 0.2}'
GRADED = "multiply_in_integers"  # without PyTorch, whose import takes seconds


def rings(rng, _=None):
    """Points on two rings around the center, of radius 1 and 2."""

    def points(count):
        y = rng.integers(2, size=count)
        radius = 1 + y + rng.normal(0, 0.25, count)
        angle = rng.uniform(0, 2 * np.pi, count)
        x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        return x.astype(np.float32), y

    return Draw(*points(100), *points(200))


@pytest.fixture(scope="package")
def small_tasks():
    """The three tasks, and only the graded problem that is fast to check."""
    need("openbadgeslib")
    if isolation() != "namespaces":
        pytest.skip("this system permits no namespaces")
    patch = pytest.MonkeyPatch()
    replace_tasks(patch)
    yield
    patch.undo()
    for name in TASKS:
        tasks.unregister(name)


def replace_tasks(patch):
    for name in TASKS:
        tasks.register(name, title={"en": f"Task {name}", "zh": f"任务 {name}"})(rings)
    patch.setattr(results, "STAGES", ("practical",))
    patch.setattr(results, "load", lambda: [get(GRADED)])
    patch.setattr(making, "load", lambda: [get(GRADED)])


@pytest.fixture(scope="package")
def made(small_tasks, tmp_path_factory):
    """A finished portfolio, and the home with its learner's key."""
    root = tmp_path_factory.mktemp("learner")
    home = root / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSEEK_LEARN_HOME", str(home))
        portfolio = root / "portfolio"
        write(portfolio)
        make(portfolio, say=lambda sentence: None)
    return portfolio, home


@pytest.fixture
def portfolio(made, tmp_path, monkeypatch):
    """A copy of the finished portfolio, for one tampering."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(made[1]))
    return Path(shutil.copytree(made[0], tmp_path / "portfolio"))


@pytest.fixture(scope="package")
def made_in_chinese(made, tmp_path_factory):
    portfolio = tmp_path_factory.mktemp("chinese") / "portfolio"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSEEK_LEARN_HOME", str(made[1]))
        patch.setattr(making, "run_project", run_here)
        write(portfolio, "王小明", "zh")
        make(portfolio, say=lambda sentence: None)
    return portfolio


def run_here(files, draw, training_seed):
    """Run a project without a sandbox: the Chinese one is made for its page only."""
    project = {}
    exec(files["project.py"], project)
    config = json.loads(files["config.json"])
    inputs = draw.x, draw.y, draw.test_x, training_seed, config
    return project["predict"](*inputs).tolist()


@pytest.fixture
def chinese(made_in_chinese, made, tmp_path, monkeypatch):
    """A copy of a finished portfolio with a Chinese certificate."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(made[1]))
    return Path(shutil.copytree(made_in_chinese, tmp_path / "chinese"))


@pytest.fixture
def draft(small_tasks, tmp_path, monkeypatch):
    """A portfolio that has not been run, of a learner without a key so far."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    write(tmp_path / "portfolio")
    return tmp_path / "portfolio"


def write(portfolio, name="Ada Lovelace", lang="en"):
    start(portfolio, name, TASKS, lang)
    for task in TASKS:
        (portfolio / "projects" / task / "project.py").write_text(PROJECT)
        (portfolio / "projects" / task / "config.json").write_text(CONFIG)
    source = get(GRADED).reference()
    assert source is not None
    (portfolio / "graded" / f"{GRADED}.py").write_text(source)
