"""`deepseek-learn profile` refuses early, with a one-sentence error."""

import sys
import types

import pytest
import torch
from torch import nn

from deepseek_learn import cli, profiler


class Fails(nn.Module):
    def forward(self, x):
        raise KeyError("no such thing\nand a second line")


class Frozen(nn.Module):
    def forward(self, x):
        return x


@pytest.fixture
def call(monkeypatch, capsys):
    module = types.ModuleType("models_of_mine")
    module.line, module.fails = nn.Linear(3, 4), (Fails(), torch.ones(1))
    module.frozen = Frozen()
    module.picture = nn.Conv2d(3, 4, 3)
    monkeypatch.setitem(sys.modules, "models_of_mine", module)

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["deepseek-learn", "profile", *options])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        return capsys.readouterr().err.strip()

    return run


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("picture", "--shape", "1,3"),
            "does not run on an input of shape 1,3: Expected",
        ),
        (("line", "--shape", "2,5"), "does not run on an input of shape 2,5: mat1 and"),
        (("fails",), "does not run on its example: 'no such thing"),
        (("frozen", "--shape", "1,3", "--train"), "train=True requires an output that"),
        (
            ("line", "--shape", "1,3", "--html", "."),
            "html must be the path of a file; got",
        ),
    ],
)
def test_one_sentence(call, options, words):
    message = call(f"models_of_mine:{options[0]}", *options[1:])
    assert message.startswith("deepseek-learn: ")
    assert words in message
    assert len(message.splitlines()) == 1


def test_a_wrong_word_is_refused_before_the_profile(call, monkeypatch):
    monkeypatch.setattr(profiler, "profile", None)
    message = call("models_of_mine:line", "--shape", "1,3", "--by", "module")
    assert (
        message == 'deepseek-learn: by must be "layer" or "operator"; got \'module\'.'
    )
