# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A deployment target of the learner's: a script that really is run."""

import os
import subprocess
import tempfile
from pathlib import Path

from .. import expect
from ..problem import Failed, Problem

NAME = "board_of_an_exercise"


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
    without = run(script, folder.parent)
    if without.returncode != 2 or "BOARD" not in without.stderr:
        raise Failed("a_board_of_your_own.refuses", code=without.returncode)
    board = f"pi@line-{rng.integers(1000)}"
    done = run(script, folder.parent, BOARD=board)
    sent = (folder.parent / "sent").read_text() if done.returncode == 0 else ""
    flag, source, to = ([*sent.splitlines()] + [""] * 3)[:3]
    right = os.path.realpath(source) == os.path.realpath(folder)
    if (flag, to, right) != ("-r", f"{board}:model", True):
        said = " ".join(sent.splitlines()) or done.stderr.strip()[-200:]
        raise Failed("a_board_of_your_own.copies", sent=said)


def run(script: Path, place: Path, **environment) -> subprocess.CompletedProcess:
    """The script, from another folder, with a `scp` that only notes what it is told."""
    tools = place / "tools"
    tools.mkdir(exist_ok=True)
    (place / "sent").unlink(missing_ok=True)
    fake = tools / "scp"
    fake.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{place}/sent'\n")
    fake.chmod(0o755)
    path = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(
        [str(script)],
        capture_output=True,
        text=True,
        env=path | environment,
        cwd="/",
        timeout=20,
    )


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
    version=2,
    lesson="engine_and_targets",
    stage="innovation",
    title={"en": "A board of your own", "zh": "你自己的开发板"},
    prompt={
        "en": """Write `my_board(kit)`, the function of a target: it completes the folder that the wizard has begun. It

- adds a script `install.sh` (`kit.script(name, text)`) that copies the *whole folder* to a board with `scp -r FOLDER "$BOARD:model"`,
  wherever it is called from, and also if its path has a space in it;
- refuses with one sentence on stderr that names `BOARD`, and exit status 2, when that variable is not set;
- tells the reader of the README about it (`kit.notes.append(...)`, with the name `install.sh`).

The check runs the script, with a `scp` that only writes down what it was told.""",
        "zh": """请编写 `my_board(kit)`，即一个目标的函数：它补全向导已经开了头的文件夹。它要

- 添加脚本 `install.sh`（用 `kit.script(name, text)`），无论从哪里调用、路径里有没有空格，都用 `scp -r 文件夹 "$BOARD:model"` 把*整个文件夹*复制到开发板；
- 变量 `BOARD` 未设置时，在 stderr 上用一句话拒绝并提到 `BOARD`，退出码为 2；
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
    },
    points=2,
    minutes=20,
    needs=("deploy",),
)
