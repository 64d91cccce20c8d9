"""What a tool draws beside its task does not change the user's random numbers."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn import AutoTuner, measure, profiler
from deepseek_learn.measure import clock
from deepseek_learn.rng import isolate_rng


def state():
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    return python, numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()


def draw(*_):
    torch.rand(1)
    return random.random() + np.random.rand()  # noqa: NPY002


class Drawing(nn.Module):
    """A layer that uses all three generators, and raises an error if asked to."""

    def __init__(self, layer, error=False):
        super().__init__()
        self.layer, self.error = layer, error

    def forward(self, x):
        x = x * draw()
        if self.error:
            raise RuntimeError("as asked")
        return self.layer(x)


def search():
    space = {"x": (0.0, 1.0), "y": [1, 2, 3]}
    tuner = AutoTuner(lambda trial: {"a": trial["x"] + trial["y"]}, space, ["a"])
    study = tuner.run(trials=12, progress=True)
    study.why()
    study.plot()


X = torch.ones(2, 4)
LINEAR, LAZY = Drawing(nn.Linear(4, 4)), Drawing(nn.LazyLinear(4))
TOOLS = {
    "profile": lambda: profiler.profile(LINEAR, X, repeats=1),
    "profile a training step": lambda: profiler.profile(
        LINEAR, X, train=True, repeats=1, progress=True
    ),
    "profile lazy layers": lambda: profiler.profile(LAZY, X, repeats=1),
    "latency": lambda: measure.latency(draw, X, rounds=6),
    "latency of a module": lambda: measure.latency(LINEAR, X, baseline=draw, rounds=6),
    "latencies": lambda: measure.latencies({"draw": draw}, rounds=6),
    "energy": lambda: measure.measured_energy(draw, 0.01, device="cpu"),
    "the clock of external programs": lambda: clock.median_ms(draw, 0.001),
    "search": search,
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_restores_the_generators(tool):
    before = state()
    TOOLS[tool]()
    assert state() == before


@pytest.mark.parametrize("kind", [nn.Linear, nn.LazyLinear])
def test_they_are_restored_after_an_error_too(kind):
    model = Drawing(kind(4) if kind is nn.LazyLinear else kind(4, 4), error=True)
    before = state()
    with pytest.raises(RuntimeError, match="as asked"):
        profiler.profile(model, X)
    assert state() == before


def test_an_error_in_the_block_restores_them():
    @isolate_rng()
    def fail():
        raise RuntimeError(draw())

    before = state()
    with pytest.raises(RuntimeError):
        fail()
    assert state() == before


FIRST_USES = {  # each imports a package that draws random numbers
    "bar": "from deepseek_learn.bar import Bar\nwith Bar(2, True, 'x') as b: b.advance(1)",
    "importance": "import deepseek_learn.tuner.importance as i\n"
    "from types import SimpleNamespace as S\n"
    "trials = [S(params={'x': 0.5}, values=[1.0])]\n"
    "from deepseek_learn.tuner.space import read_space\n"
    "i._fanova(S(space=read_space({'x': (0.0, 1.0)})), trials, 0, 5)",
    "repeats": "from deepseek_learn.data.repeats import near_repeats\n"
    "near_repeats(['a text', 'a text'])",
}


@pytest.mark.slow
@pytest.mark.parametrize("use", FIRST_USES)
def test_the_first_use_in_a_process_draws_nothing(use):
    program = f"import random\nrandom.seed(0)\n{FIRST_USES[use]}\n"
    program += "assert random.random() == random.Random(0).random()\n"
    program += "import sys\nassert 'rich.style' in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
