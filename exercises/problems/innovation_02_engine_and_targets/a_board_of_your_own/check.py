"""Check the learner's deployment target by actually running its script."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

if TYPE_CHECKING:
    from deepseek_learn.deploy import DeploymentWizard

NAME = "board_of_an_exercise"
SECONDS = 20.0  # for a script that copies nothing


@dataclass(frozen=True)
class Run:
    """One run of a script: working directory, exit status, output and `scp` calls."""

    where: str
    code: int
    stdout: str
    stderr: str
    sent: list[list[str]]


def check(answer, rng) -> None:
    expect.function(answer, "my_board")
    from deepseek_learn.deploy import target, targets

    errors: list[Exception] = []

    def complete(kit):
        try:
            expect.call(answer, kit)
        except Exception as error:  # re-raised below, not as a wizard's error
            errors.append(error)

    # a GPU provider, so that nothing has to run here
    target(NAME, provider="cuda", precisions=("fp32",))(complete)
    try:
        with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as place:
            deployment = wizard().to(NAME, Path(place) / "my kit", progress=False)
            if errors:
                raise errors[0]
            inspect(deployment.folder, rng)
    finally:
        targets.unregister(NAME)


@cache
def wizard() -> "DeploymentWizard":
    """Return a wizard whose model is exported once for all answers."""
    import torch

    from deepseek_learn.deploy import DeploymentWizard

    return DeploymentWizard(torch.nn.Linear(8, 3), torch.rand(2, 8))


def inspect(folder: Path, rng) -> None:
    script = folder / "install.sh"
    if not script.exists():
        raise Failed("missing")
    if not os.access(script, os.X_OK):
        raise Failed("executable")
    if "install.sh" not in (folder / "README.md").read_text():
        raise Failed("note")
    refuses(run(script, folder.parent))
    board = f"pi@line-{rng.integers(1000)}"
    for where in ("/", folder.parent, folder):  # from the root, the parent and within
        path = script.relative_to(where) if where != "/" else script
        result = run(path, folder.parent, where, BOARD=board)
        copies(result, folder, f"{board}:model")


def refuses(result: Run) -> None:
    """Require, without BOARD: no copy, exit status 2, one line on stderr naming it."""
    if result.sent:
        raise Failed("sent_anyway", sent=" ".join(result.sent[0]))
    if result.code != 2:
        raise Failed("code", code=result.code)
    if "BOARD" not in result.stderr:
        key = "stdout" if "BOARD" in result.stdout else "unnamed"
        raise Failed(key, said=result.stderr.strip()[-200:])
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    if len(lines) > 1:
        raise Failed("sentence", lines=len(lines))


def copies(result: Run, folder: Path, to: str) -> None:
    if len(result.sent) > 1:
        raise Failed("twice", times=len(result.sent))
    place, *arguments = result.sent[0] if result.sent else [""]
    if len(arguments) == 3 and result.code == 0:
        flag, source, target = arguments
        source_path = os.path.realpath(os.path.join(place, source))
        if (flag, source_path, target) == ("-r", os.path.realpath(folder), to):
            return
    message = " ".join(arguments) or result.stderr.strip()[-200:]
    raise Failed("copies", sent=message, where=result.where)


def run(script: Path, place: Path, where: str | Path = "/", **environment) -> Run:
    """Run the script from `where`, with a `scp` that only records its arguments."""
    tools, note = place / "tools", place / "sent"
    tools.mkdir(exist_ok=True)
    note.unlink(missing_ok=True)
    fake = tools / "scp"
    fake.write_text(f"#!/bin/sh\nprintf '%s\\n' $# \"$PWD\" \"$@\" >> '{note}'\n")
    fake.chmod(0o755)
    try:
        result = subprocess.run(
            [os.path.join(".", script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": f"{tools}:/usr/bin:/bin"} | environment,
            cwd=where,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Failed("hangs", seconds=f"{SECONDS:g}") from None
    except OSError as error:  # the system finds no interpreter for the script
        first = (Path(where) / script).read_text(errors="replace").partition("\n")[0]
        facts = {"first": first[:80], "error": error.strerror}
        raise Failed("first_line", **facts) from None
    stdout, stderr = (
        each.decode(errors="replace") for each in (result.stdout, result.stderr)
    )
    return Run(str(where), result.returncode, stdout, stderr, calls(note))


def calls(note: Path) -> list[list[str]]:
    """Return the working directory and arguments of each `scp` call."""
    lines = note.read_text(errors="replace").splitlines() if note.exists() else []
    result = []
    while lines:
        end = int(lines[0]) + 2
        result.append(lines[1:end])
        del lines[:end]
    return result
