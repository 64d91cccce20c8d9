# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A deployment target of the learner's: a script that really is run."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import expect
from ..problem import Failed, Problem

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
        raise Failed("a_board_of_your_own.missing")
    if not os.access(script, os.X_OK):
        raise Failed("a_board_of_your_own.executable")
    if "install.sh" not in (folder / "README.md").read_text():
        raise Failed("a_board_of_your_own.note")
    refuses(run(script, folder.parent))
    board = f"pi@line-{rng.integers(1000)}"
    for where in ("/", folder.parent, folder):  # from afar, from beside, from within
        path = script.relative_to(where) if where != "/" else script
        done = run(path, folder.parent, where, BOARD=board)
        copies(done, folder, f"{board}:model")


def refuses(done: Run) -> None:
    """Without BOARD: no copy, exit status 2, one line on stderr that names it."""
    if done.sent:
        raise Failed("a_board_of_your_own.sent_anyway", sent=" ".join(done.sent[0]))
    if done.code != 2:
        raise Failed("a_board_of_your_own.code", code=done.code)
    if "BOARD" not in done.stderr:
        key = "stdout" if "BOARD" in done.stdout else "unnamed"
        raise Failed(f"a_board_of_your_own.{key}", said=done.stderr.strip()[-200:])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if len(lines) > 1:
        raise Failed("a_board_of_your_own.sentence", lines=len(lines))


def copies(done: Run, folder: Path, to: str) -> None:
    if len(done.sent) > 1:
        raise Failed("a_board_of_your_own.twice", times=len(done.sent))
    place, *given = done.sent[0] if done.sent else [""]
    if len(given) == 3 and done.code == 0:
        flag, source, target = given
        there = os.path.realpath(os.path.join(place, source))
        if (flag, there, target) == ("-r", os.path.realpath(folder), to):
            return
    said = " ".join(given) or done.stderr.strip()[-200:]
    raise Failed("a_board_of_your_own.copies", sent=said, where=done.where)


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
        raise Failed("a_board_of_your_own.hangs", seconds=f"{SECONDS:g}") from None
    except OSError as error:  # the system does not know what runs it
        first = (Path(where) / script).read_text(errors="replace").partition("\n")[0]
        facts = {"first": first[:80], "error": error.strerror}
        raise Failed("a_board_of_your_own.first_line", **facts) from None
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


HEAD = "def my_board(kit):\n"
BODY = '''    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")
'''


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="a_board_of_your_own",
    version=3,
    lesson="engine_and_targets",
    stage="innovation",
    title={"en": "A board of your own", "zh": "你自己的开发板"},
    prompt={
        "en": """Write `my_board(kit)`, the function of a target: it completes the folder that the wizard has begun. It

- adds a script `install.sh` (`kit.script(name, text)`) that copies the *whole folder* to a board with `scp -r FOLDER "$BOARD:model"`,
  wherever it is called from, and also if its path has a space in it;
- refuses with one sentence, on one line of stderr, that names `BOARD`, and exit status 2, when that variable is not set: then it does not copy;
- tells the reader of the README about it (`kit.notes.append(...)`, with the name `install.sh`).

The check runs the script, with a `scp` that only writes down what it was told.""",
        "zh": """请编写 `my_board(kit)`，即一个目标的函数：它补全向导已经开了头的文件夹。它要

- 添加脚本 `install.sh`（用 `kit.script(name, text)`），无论从哪里调用、路径里有没有空格，都用 `scp -r 文件夹 "$BOARD:model"` 把*整个文件夹*复制到开发板；
- 变量 `BOARD` 未设置时，在 stderr 上用一句话（一行）拒绝并提到 `BOARD`，退出码为 2，并且不复制；
- 在 README 里告诉读者（`kit.notes.append(...)`，写出 `install.sh` 这个名字）。

检查会真的运行这个脚本，所用的 `scp` 只记录收到的参数。""",
    },
    starter=HEAD + "    ...\n",
    answer="my_board",
    hints=(
        {
            "en": 'A script knows where it lies: `here="$(cd "$(dirname "$0")" && pwd)"`.',
            "zh": '脚本可以知道自己在哪里：`here="$(cd "$(dirname "$0")" && pwd)"`。',
        },
        {
            "en": '`if [ -z "${BOARD:-}" ]; then echo "..." >&2; exit 2; fi`; the first line must be `#!/usr/bin/env bash`.',
            "zh": '`if [ -z "${BOARD:-}" ]; then echo "..." >&2; exit 2; fi`；第一行必须是 `#!/usr/bin/env bash`。',
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "copies where it is called from": changed('scp -r "$here"', 'scp -r "$PWD"'),
        "lost at a space": changed('scp -r "$here"', "scp -r $here"),
        "does not refuse": changed("  exit 2\n", ""),
        "refuses without a word": changed(
            '  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2\n', ""
        ),
        "no word in the README": changed(
            'kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")', "pass"
        ),
        "no first line": changed("#!/usr/bin/env bash\n", ""),
        "a program that there is not": changed("/usr/bin/env bash", "/no/such/shell"),
        "asks at the keyboard": changed(
            'if [ -z "${BOARD:-}" ]; then\n',
            'if [ -z "${BOARD:-}" ]; then read BOARD\n',
        ),
        "refuses on stdout": changed(" >&2", ""),
        "refuses without the name": changed("set BOARD, such as BOARD=", "say "),
        "refuses in two lines": changed(
            'echo "install.sh: ', 'echo "Sorry." >&2; echo "install.sh: '
        ),
        "copies before it refuses": changed(
            'if [ -z "${BOARD:-}" ]', 'scp -r "$here" ":model"\nif [ -z "${BOARD:-}" ]'
        ),
        "copies twice": changed(
            'scp -r "$here" "$BOARD:model"\n', 'scp -r "$here" "$BOARD:model"\n' * 2
        ),
        "goes elsewhere before it looks where it lies": changed("here=", "cd /; here="),
        "does nothing": changed('scp -r "$here" "$BOARD:model"\n', ""),
        "cannot be run": HEAD
        + '    kit.notes.append("install.sh")\n    (kit.folder / "install.sh").write_text("scp")\n',
    },
    right={
        "in sh, by readlink": HEAD
        + '''    kit.script("install.sh", """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
test -n "$BOARD" || { echo "BOARD is not set" >&2; exit 2; }
exec scp -r "$here" "$BOARD:model"
""")
    kit.notes.append("install.sh copies the folder to the BOARD.")
''',
        "from within the folder": HEAD
        + '''    kit.script("install.sh", """#!/bin/bash
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
[[ -v BOARD ]] || { >&2 echo "Which board? Set BOARD."; exit 2; }
scp -r . "$BOARD:model"
""")
    kit.notes.append("Run install.sh.")
''',
    },
    points=2,
    minutes=20,
    needs=("deploy",),
    seconds=300,  # imports, and programs
)
