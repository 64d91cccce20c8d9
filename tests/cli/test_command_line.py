"""Every command × bad arguments: one sentence and exit code 1 or 2, never a traceback."""

import os
import sys

import pytest
import typer
from typer.testing import CliRunner

from deepseek_learn import cli
from deepseek_learn.cli.author import author
from deepseek_learn.cli.certificate import certificate
from deepseek_learn.course.authoring import execute
from deepseek_learn.errors import DeepSeekLearnError

HUGE = "9" * 400
SOURCE = """import torch

linear = torch.nn.Linear(3, 2)


def boom():
    raise RuntimeError("boom")


def asks(a):
    return a


def words():
    return "words"
"""
BAD = f"""
nothing
--nothing
author nothing
author anki
author anki --out
author anki --out deck.zip
zoo nothing
zoo ../etc
zoo {HUGE}
zoo fashion_net two
data nothing
data /
submit nothing
submit check
submit check nothing.py
submit check /
submit check broken.py
submit check broken.py --track grouping
submit list nothing
submit field
submit field nothing
submit rerun nothing
submit rerun samplers nothing
chat
chat small_deepseek
chat zoo:
chat zoo:nothing
chat zoo:fashion_net --prompt a
chat zoo:small_deepseek --prompt a --tokens x
chat zoo:small_deepseek --prompt a --tokens {HUGE}
chat zoo:small_deepseek --prompt a --seed -1
chat zoo:small_deepseek --prompt a --seed {HUGE}
chat zoo:small_deepseek --prompt a --top-p nan
chat zoo:small_deepseek --prompt a --kind novel
profile
profile linear
profile :
profile zoo:nothing
profile nothing:model
profile .:model
profile os:nothing
profile os:getcwd
profile broken:model
profile raises:model
profile gives:boom
profile gives:asks
profile gives:words
profile gives:linear
profile gives:linear --shape 1,x
profile gives:linear --shape 1,-3
profile gives:linear --shape {HUGE}
profile gives:linear --shape 1,99999999999999
profile gives:linear --shape 1,3 --by nothing
profile gives:linear --shape 1,3 --html folder
profile gives:linear --shape 1,3 --html file/page.html
deploy gives:linear
deploy linear --target cpp-cpu --out new
deploy zoo:nothing --target cpp-cpu --out new
solve bakery . --out new
solve factory nowhere --out new
solve factory . --out new
solve factory . --out new --rate x
federated simulate --out new --hospital nowhere
federated simulate --out new --rounds 0
federated simulate --out file
federated certificates new
federated certificates new a/b
federated certificates file localhost
federated ledger new
federated ledger new harbor
federated ledger new harbor x
federated ledger file harbor 4
federated ledger file --seal
federated ledger nothing --seal
deploy gives:boom --target cpp-cpu --out new
deploy gives:linear --target nothing --out new --shape 1,3
deploy gives:linear --target cpp-cpu --out new --shape 1,3 --precision int3
deploy gives:linear --target cpp-cpu --out new --shape 1,3 --loss nan
deploy gives:linear --target cpp-cpu --out new --shape 1,3 --loss x
deploy gives:linear --target cpp-cpu --out new --shape 1,3 --batch 0
deploy gives:linear --target cpp-cpu --out new --shape 1,3 --batch {HUGE}
deploy gives:linear --target cpp-cpu --out file --shape 1,3 --precision fp32
deploy gives:linear --target cpp-cpu --out file/new --shape 1,3 --precision fp32
lab --port x
lab --port 0
lab --port {HUGE}
progress tuor
progress tour two
ledger C99
ledger C1 C2
progress --import nothing.json
progress --import folder
progress --import file
progress --import bytes
progress --export folder
progress --export file/progress.json
author run
author run nothing.ipynb
author run folder
author run file
author run bytes
author run list.ipynb
author run newer.ipynb
author assignment
author assignment file
author assignment new --lesson nothing
author assignment new --lang fr
author grade nothing --out new
author grade file --out new
author grade . --out new --lesson nothing
author sandbox nothing true
author sandbox folder nonesuch
author accept
author accept nothing
certificate start folder
certificate start new --name A --projects mail
certificate start new --name A --projects mail,wind,nothing
certificate start new --name A --projects mail,wind,own --lang fr
certificate make nothing
certificate make folder
certificate verify nothing
certificate verify folder
certificate verify folder --teacher file
certificate show folder
certificate sign folder --key nothing --name A
certificate key file
author accept README.md --cell nothing
author accept notebooks/basic/00_tour.ipynb --cell nothing
""".strip().splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with files that a command may be given by mistake."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("{")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x80" * 10)
    (tmp_path / "list.ipynb").write_text("[1]")
    (tmp_path / "newer.ipynb").write_text('{"nbformat": 9, "cells": []}')
    (tmp_path / "broken.py").write_text("def model(:\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "gives.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    for name in ("broken", "raises", "gives"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def answer(here, monkeypatch, capsys):
    """Exit code and output of one command line."""

    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["deepseek-learn", *line.split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return run


def commands() -> dict[str, typer.models.CommandInfo]:
    """Every command, by its words on the command line."""
    groups = {"": cli.app, "author ": author, "certificate ": certificate}
    return {
        prefix + (info.name or info.callback.__name__): info
        for prefix, group in groups.items()
        for info in group.registered_commands
    }


ALONE = [
    name
    for name, info in commands().items()
    if not info.callback.__annotations__.keys() - {"return"}
]


@pytest.mark.parametrize("line", BAD + [f"{name} unasked" for name in ALONE])
def test_bad_input_gets_one_sentence(answer, line):
    code, message = answer(line)
    assert code in (1, 2)
    assert "Traceback" not in message
    assert "DEEPSEEK_LEARN_TRACEBACK" not in message, "an unexpected exception"
    if code == 1:
        assert message.startswith("deepseek-learn: ")
        assert len(message.strip().splitlines()) == 1
    else:
        assert "Usage" in message or "Error" in message


def test_the_walk_goes_through_every_command():
    walked = {
        name
        for name in commands()
        if any(f"{line} ".startswith(f"{name} ") for line in BAD)
    }
    assert walked | set(ALONE) == set(commands())


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
@pytest.mark.parametrize(
    "line", ["progress --import file", "author run file", "author assignment folder"]
)
def test_what_may_not_be_read_or_written_gets_one_sentence(answer, here, line):
    (here / "file").chmod(0)
    (here / "folder").chmod(0o500)
    code, message = answer(line)
    assert (code, len(message.strip().splitlines())) == (1, 1)
    assert "ermission denied" in message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "a.txt"),
            "a.txt: Permission denied.",
        ),
        (
            IsADirectoryError(21, "Is a directory", ".a.tmp", None, "a"),
            "a: Is a directory.",
        ),
        (FileExistsError("out must be a folder."), "out must be a folder."),
        (ValueError("x must be 1.\nmore"), "x must be 1."),
        (DeepSeekLearnError("one\ntwo"), "one\ntwo"),
        (KeyError("x"), "KeyError: 'x' (DEEPSEEK_LEARN_TRACEBACK=1 shows where)"),
        (RuntimeError(), "RuntimeError (DEEPSEEK_LEARN_TRACEBACK=1 shows where)"),
    ],
)
def test_what_nobody_foresaw_is_a_sentence_too(answer, monkeypatch, error, said):
    def fail():
        raise error

    monkeypatch.setattr("deepseek_learn.cli.doctor.examine", fail)
    assert answer("doctor") == (1, f"deepseek-learn: {said}\n")
    monkeypatch.setenv("DEEPSEEK_LEARN_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["deepseek-learn", "doctor"])
    with pytest.raises(type(error)):
        cli.main()


def test_a_cell_that_fails_is_named_in_one_sentence(answer, here, monkeypatch):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), here / "a.ipynb")
    before = (here / "a.ipynb").read_bytes()
    code, message = answer("author run a.ipynb")
    assert code == 1
    assert message.splitlines()[-1] == (
        "deepseek-learn: a.ipynb stopped: a cell raised ZeroDivisionError: "
        "division by zero"
    )
    assert (here / "a.ipynb").read_bytes() == before
    with pytest.raises(DeepSeekLearnError, match=r"a\.ipynb stopped"):
        next(execute.execute([here / "a.ipynb"]))


def test_the_help_explains_the_arguments():
    # with typer 0.20 and click 8.5, it did not
    done = CliRunner().invoke(
        cli.app, ["solve", "factory", "--help"], env={"COLUMNS": "200"}
    )
    assert "good parts in good/" in done.output
