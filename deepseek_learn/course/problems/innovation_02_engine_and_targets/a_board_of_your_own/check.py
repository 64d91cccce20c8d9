"""A deployment target of the learner's: a script that really is run."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

NAME = "board_of_an_exercise"
SECONDS = 20.0  # for a script that copies nothing


@dataclass(frozen=True)
class Run:
    """What a script did: where it was called, how it ended, what it sent."""

    where: str
    code: int
    stdout: str
    stderr: str
    sent: list[list[str]]


def check(answer, rng) -> None:
    expect.function(answer, "my_board")
    import torch

    from deepseek_learn.deploy import DeploymentWizard, target, targets

    model, x = torch.nn.Linear(8, 3), torch.rand(2, 8)
    made: list[Exception] = []

    def complete(kit):
        try:
            expect.call(answer, kit)
        except Exception as error:  # raised below, not as the wizard's own
            made.append(error)

    # a graphics card's provider: nothing has to run here
    target(NAME, provider="cuda", precisions=("fp32",))(complete)
    try:
        with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as place:
            wizard = DeploymentWizard(model, x)
            done = wizard.to(NAME, Path(place) / "my kit", progress=False)
            if made:
                raise made[0]
            inspect(done.folder, rng)
    finally:
        targets.unregister(NAME)


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
    for where in ("/", folder.parent, folder):  # from afar, from beside, from within
        path = script.relative_to(where) if where != "/" else script
        done = run(path, folder.parent, where, BOARD=board)
        copies(done, folder, f"{board}:model")


def refuses(done: Run) -> None:
    """Without BOARD: no copy, exit status 2, one line on stderr that names it."""
    if done.sent:
        raise Failed("sent_anyway", sent=" ".join(done.sent[0]))
    if done.code != 2:
        raise Failed("code", code=done.code)
    if "BOARD" not in done.stderr:
        key = "stdout" if "BOARD" in done.stdout else "unnamed"
        raise Failed(key, said=done.stderr.strip()[-200:])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if len(lines) > 1:
        raise Failed("sentence", lines=len(lines))


def copies(done: Run, folder: Path, to: str) -> None:
    if len(done.sent) > 1:
        raise Failed("twice", times=len(done.sent))
    place, *given = done.sent[0] if done.sent else [""]
    if len(given) == 3 and done.code == 0:
        flag, source, target = given
        there = os.path.realpath(os.path.join(place, source))
        if (flag, there, target) == ("-r", os.path.realpath(folder), to):
            return
    said = " ".join(given) or done.stderr.strip()[-200:]
    raise Failed("copies", sent=said, where=done.where)


def run(script: Path, place: Path, where: str | Path = "/", **environment) -> Run:
    """The script, called in `where`, with a `scp` that only notes what it is told."""
    tools, note = place / "tools", place / "sent"
    tools.mkdir(exist_ok=True)
    note.unlink(missing_ok=True)
    fake = tools / "scp"
    fake.write_text(f"#!/bin/sh\nprintf '%s\\n' $# \"$PWD\" \"$@\" >> '{note}'\n")
    fake.chmod(0o755)
    try:
        done = subprocess.run(
            [os.path.join(".", script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": f"{tools}:/usr/bin:/bin"} | environment,
            cwd=where,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Failed("hangs", seconds=f"{SECONDS:g}") from None
    except OSError as error:  # the system does not know what runs it
        first = (Path(where) / script).read_text(errors="replace").partition("\n")[0]
        facts = {"first": first[:80], "error": error.strerror}
        raise Failed("first_line", **facts) from None
    said = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    return Run(str(where), done.returncode, *said, calls(note))


def calls(note: Path) -> list[list[str]]:
    """Of each `scp`: the folder it was called in, and its arguments."""
    lines = note.read_text(errors="replace").splitlines() if note.exists() else []
    found = []
    while lines:
        end = int(lines[0]) + 2
        found.append(lines[1:end])
        del lines[:end]
    return found
