"""Which lessons `make test` executes: those that a change touches, and a third in turn.

All thirty take over ten minutes on two cores. The same holds for the test files marked
`in_turn`, which wait for processes for minutes. The monthly run executes all of them
(EVERY_NOTEBOOK=1).
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from deepseek_learn.course.authoring.import_graph import ImportGraph

TURNS = 3
# What decides how every lesson runs.
FOR_ALL = ("pyproject.toml", "constraints.txt", "tests/test_notebooks.py")


def git(root: Path, *words: str) -> str | None:
    """What a git command prints, or None if it fails or there is no git."""
    try:
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def changed_files(root: Path) -> set[str] | None:
    """Files that differ from the commit before the change; None if it is not known.

    The change is that of the branch, or of the newest commit where there is no other
    branch, with what is not committed yet. SINCE=COMMIT says where it begins.
    """
    head = git(root, "rev-parse", "HEAD")
    branched = git(root, "merge-base", "HEAD", "origin/main")
    base = os.environ.get("SINCE") or (branched if branched != head else None)
    names = git(root, "diff", "--name-only", base or "HEAD^")
    others = git(root, "ls-files", "--others", "--exclude-standard")
    if names is None or others is None:
        return None
    return {*names.splitlines(), *others.splitlines()}


def code(lesson: Path) -> str:
    cells = json.loads(lesson.read_text("utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return re.sub(r"(?m)^( *)[%!].*", r"\1pass", "\n".join(sources))


def is_touched(lesson: Path, changed: set[str], root: Path, graph: ImportGraph) -> bool:
    """Whether a lesson, its translation, or a file that it uses is among `changed`.

    Weights and data are used by lessons that name them.
    """
    own = lesson.relative_to(root).as_posix()
    source = code(lesson)
    files = {own, f"zh/{own}", *graph.needs(source)}
    stems = {Path(file).stem for file in changed if "/weights/" in file}
    stems |= {Path(file).stem for file in changed if "/files/" in file}
    return bool(files & changed) or any(stem in source for stem in stems)


def chosen(lessons: list[Path], root: Path) -> list[Path]:
    """The lessons to execute; all of them if it is not known what changed."""
    return _chosen(lessons, root, is_touched)


def chosen_tests(files: list[Path], root: Path) -> list[Path]:
    """The test files marked `in_turn` to run."""

    def uses(file: Path, changed: set[str], root: Path, graph: ImportGraph) -> bool:
        # its helpers and the programs that it starts stand beside it
        beside = [p for p in file.parent.glob("*.py") if not p.name.startswith("test_")]
        files = {each.relative_to(root).as_posix() for each in (file, *beside)}
        for each in (file, *beside):
            files |= graph.needs(each.read_text("utf-8"))
        return bool(files & changed)

    return _chosen(files, root, uses)


def _chosen(
    files: list[Path],
    root: Path,
    touched: Callable[[Path, set[str], Path, ImportGraph], bool],
) -> list[Path]:
    changed = changed_files(root)
    head = git(root, "rev-parse", "HEAD")
    if os.environ.get("EVERY_NOTEBOOK") or not changed or not head:
        return files
    if changed.intersection(FOR_ALL):
        return files
    graph, turn = ImportGraph(root), int(head, 16) % TURNS
    return [
        file
        for i, file in enumerate(files)
        if i % TURNS == turn or touched(file, changed, root, graph)
    ]
