"""Models as the command line names them, and `deepseek-learn profile`."""

import subprocess
import sys

import pytest
import torch

from deepseek_learn.cli.named_models import model_and_example
from deepseek_learn.errors import DeepSeekLearnError, UnknownNameError

MODULE = """
import torch

def bare():
    return torch.nn.Linear(3, 2)

ready = torch.nn.Linear(3, 2)

def three():
    return torch.nn.Linear(3, 2), torch.ones(1, 3), None

def whole():
    return torch.nn.Linear(3, 2), torch.ones(1, 3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "models_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("models_of_mine", None)


def test_a_model_of_the_zoo():
    model, example = model_and_example("zoo:fashion_net")
    assert model(example).shape == (1, 10)
    _, example = model_and_example("zoo:fashion_net", "4,1,28,28")
    assert model(example).shape == (4, 10)


def test_a_callable_of_ones_own(here):
    model, example = model_and_example("models_of_mine:whole")
    assert torch.equal(example, torch.ones(1, 3))
    model, example = model_and_example("models_of_mine:bare", "5,3")
    assert model(example).shape == (5, 2)
    model, example = model_and_example("models_of_mine:ready", "5,3")
    assert model(example).shape == (5, 2)


def test_refusals(here):
    with pytest.raises(ValueError, match=r"zoo:NAME or module:callable; got 'resnet'"):
        model_and_example("resnet")
    with pytest.raises(UnknownNameError, match="the known names are: bacteria_unet"):
        model_and_example("zoo:resnet")
    with pytest.raises(
        DeepSeekLearnError, match=r"no_such:x does not exist: No module"
    ):
        model_and_example("no_such:x")
    with pytest.raises(DeepSeekLearnError, match="models_of_mine:x does not exist"):
        model_and_example("models_of_mine:x")
    with pytest.raises(
        ValueError, match=r"calibration batches and a metric; got tuple"
    ):
        model_and_example("models_of_mine:three")
    with pytest.raises(ValueError, match="add --shape"):
        model_and_example("models_of_mine:bare")
    for shape in ("1,x", "0,3", "-1"):
        with pytest.raises(ValueError, match=r"shape must be comma-separated integers"):
            model_and_example("models_of_mine:bare", shape)


@pytest.mark.slow
def test_the_command_line_profiles_and_writes_a_page(here):
    command = [sys.executable, "-m", "deepseek_learn", "profile"]
    options = ["models_of_mine:bare", "--shape", "5,3", "--html", "page.html"]
    run = subprocess.run([*command, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Linear" in run.stdout
    assert "One forward pass of Linear" in run.stdout
    assert (here / "page.html").read_text().startswith("<!doctype html>")
    run = subprocess.run([*command, "zoo:nothing"], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("deepseek-learn: zoo model 'nothing' is not known")


def test_a_shape_for_a_language_model_is_one_of_tokens():
    model, example = model_and_example("zoo:small_deepseek", "2,5")
    assert example.shape == (2, 5)
    assert example.dtype == torch.int64
    with torch.inference_mode():
        assert model(example).shape[:2] == (2, 5)
