"""Judge a proposal, such as a pull request, by races and not by the records it brings.

A record is a line of text: anyone can type one, and a second one that confirms it. So a
proposal's entries are raced in a copy of the leaderboard whose records are those of the
commit that it is based on.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DeepSeekLearnError
from .racing import FOLDER, RECORDS
from .track import NAMES


@contextmanager
def proposal(base: str, folder: Path = FOLDER) -> Iterator[Path]:
    """Yield a copy of the leaderboard: the entries here, and the records of `base`.

    Args:
        base: the commit that the proposal is based on, as git names it.

    Raises:
        DeepSeekLearnError: if there is no such commit.
    """
    with tempfile.TemporaryDirectory(prefix="leaderboard-") as name:
        copy = Path(name)
        for place in (folder / track for track in NAMES):
            (copy / place.name).mkdir()
            for file in (*place.glob("*.py"), *place.glob("*.toml")):
                shutil.copyfile(file, copy / place.name / file.name)
            (copy / place.name / RECORDS).write_text(committed(base, place), "utf-8")
        yield copy


def brings_records(base: str, folder: Path = FOLDER) -> list[str]:
    """Return the tracks whose records here are not those of `base`."""
    return [
        track
        for track in NAMES
        if _text(folder / track / RECORDS) != committed(base, folder / track)
    ]


def committed(base: str, place: Path) -> str:
    """Return the records of a track in a commit; empty if it has none.

    Raises:
        DeepSeekLearnError: if there is no such commit.
    """
    if _git(place, "rev-parse", "--verify", f"{base}^{{commit}}") is None:
        raise DeepSeekLearnError(
            f"--since must be a commit of this repository, such as origin/main; got "
            f"{base!r}."
        )
    return _git(place, "show", f"{base}:./{RECORDS}") or ""


def _git(place: Path, *arguments: str) -> str | None:
    """Return what git prints, or None if it fails."""
    command = ["git", "-C", str(place), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    return done.stdout if done.returncode == 0 else None


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""
