"""`author sandbox` runs a command in a folder, and passes on how it ended."""

import pytest
from typer.testing import CliRunner

from deepseek_learn import sandbox
from deepseek_learn.cli.commands import app
from deepseek_learn.errors import DeepSeekLearnError


def invoke(*arguments):
    return CliRunner().invoke(app, ["author", "sandbox", *map(str, arguments)])


@pytest.mark.skipif(
    sandbox.isolation() != "namespaces", reason="this system permits no namespaces"
)
def test_a_command_writes_to_its_folder_only(tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    result = invoke(room, "--", "sh", "-c", "echo here > a; echo out > ../b; exit 3")
    assert result.exit_code == 3
    assert (room / "a").read_text() == "here\n"
    assert not (tmp_path / "b").exists()
    result = invoke(room, "--minutes", "0.005", "--", "sleep", "30")
    assert result.exit_code == 1


def test_without_namespaces_it_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "isolation", lambda: "sockets refused")
    result = invoke(tmp_path, "--", "touch", "written")
    assert isinstance(result.exception, DeepSeekLearnError)
    assert not list(tmp_path.iterdir())
