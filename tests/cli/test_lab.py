"""`deepseek-learn lab` brings the working copy up to date and opens its start page."""

import os
import sys

import nbformat
import pytest
from typer.testing import CliRunner

from deepseek_learn import cli
from deepseek_learn.cli import lab
from deepseek_learn.course.working_copy import COPIES
from deepseek_learn.errors import DamagedFileError, DeepSeekLearnError
from deepseek_learn.files import REPOSITORY

TOUR = "exercises/basic/00_tour.ipynb"


class Replaced(Exception):
    """Raised in place of replacing this process by JupyterLab."""


@pytest.fixture
def replaced(tmp_path, monkeypatch):
    """What would be started, and the folder in which it would be."""
    pytest.importorskip("jupyterlab")
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DEEPSEEK_LEARN_WORK", raising=False)
    monkeypatch.chdir(REPOSITORY)
    commands = []

    def execve(program, command, environment):
        commands.append((command, os.getcwd()))
        raise Replaced

    monkeypatch.setattr(lab.os, "execve", execve)
    return commands


def test_it_opens_the_start_page_of_the_working_copy(
    replaced, tmp_path, monkeypatch, capsys
):
    work, port = tmp_path / "mine", lab.free_port()
    monkeypatch.setenv("DEEPSEEK_LEARN_WORK", str(work))
    with pytest.raises(Replaced):
        lab.open_lab(port, "none")
    ((command, folder),) = replaced
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={work}" in command
    assert "--LabApp.default_url=/lab/tree/START.ipynb" in command
    assert "--no-browser" in command
    assert folder == str(work)
    for name in ("START.ipynb", "START.zh.ipynb", TOUR, f"zh/{TOUR}"):
        nbformat.validate(nbformat.read(work / name, as_version=4))
    (line,) = capsys.readouterr().out.splitlines()
    assert f"http://localhost:{port}/lab/tree/START.ipynb" in line


def test_it_says_which_notebook_has_a_newer_version(replaced, tmp_path, capsys):
    work = tmp_path / "work"
    (work / TOUR).parent.mkdir(parents=True)
    (work / TOUR).write_text("the learner's own")
    with pytest.raises(Replaced):
        lab.open_lab(lab.free_port(), "firefox", str(work))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{TOUR} holds your changes, so it stays as it is;")
    assert (work / TOUR).read_text() == "the learner's own"


def test_what_cannot_be_is_refused_before_anything_starts(replaced, tmp_path):
    with pytest.raises(DeepSeekLearnError, match="in a folder of its own"):
        lab.open_lab(lab.free_port(), "none", str(REPOSITORY / "exercises"))
    (tmp_path / COPIES).write_text("{")
    with pytest.raises(DamagedFileError, match="nothing was changed"):
        lab.open_lab(lab.free_port(), "none", str(tmp_path))
    assert not (tmp_path / "START.ipynb").exists()
    assert replaced == []


def test_progress_of_one_lesson(replaced):
    done = CliRunner().invoke(cli.app, ["progress", "tour"])
    assert done.exit_code == 0
    assert "0 of 2 exercises passed" in done.output
    assert TOUR in done.output
