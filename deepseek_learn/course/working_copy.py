"""The learner's working copy of the notebooks, which git does not track.

`refresh` copies lessons and exercises from a clone into the folder `work/` and later
brings it up to date without touching an answer:

- a notebook whose text and code are as they were copied is replaced by its new version
  (outputs do not count: running a lesson does not make it the learner's own);
- one that the learner changed stays, and its new version is put beside it, once, as
  `NAME.new.ipynb`;
- one that the learner deleted is copied again;
- one whose lesson got another number is renamed with it.

`COPIES`, a file in the working copy, holds the digest of what was copied. Files that
did not come from the course are never touched.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..catalog import LANGUAGES, text
from ..errors import DamagedFileError, DeepSeekLearnError
from ..files import atomic_write
from .lessons import lessons
from .places import exercise_path, lesson_path

COPIES = ".deepseek_learn.json"
FORMAT = 1
TRACKED = ("notebooks", "exercises", "zh", "book", "deepseek_learn", "tests", ".git")
NUMBER = re.compile(r"\d\d[a-z]?_")  # what a lesson's file name starts with


@dataclass
class Copy:
    """What is remembered about a file.

    Attributes:
        digest: the content that was copied last, or "" if the file was there before.
        offered: the newer content that was put beside the learner's version, or "".
    """

    digest: str
    offered: str = ""


def folder_of(root: Path, choice: str | Path = "") -> Path:
    """Return the folder of the working copy.

    Args:
        root: the clone of the repository.
        choice: another folder; by default `$DEEPSEEK_LEARN_WORK`, or else `work/` in
            the clone.

    Raises:
        DeepSeekLearnError: if the folder contains the clone, or is one of the folders
            that git tracks.
    """
    root = root.resolve()
    named = choice or os.environ.get("DEEPSEEK_LEARN_WORK", "")
    work = Path(named).expanduser().resolve() if named else root / "work"
    if root.is_relative_to(work) or {root / name for name in TRACKED} & {
        work,
        *work.parents,
    }:
        raise DeepSeekLearnError(text("work.inside", work=work))
    return work


def refresh(root: Path, work: Path) -> list[str]:
    """Create the working copy, or bring it up to date.

    Args:
        root: the clone of the repository.
        work: the folder of the working copy.

    Returns:
        One sentence for each file that the learner should know about.

    Raises:
        DamagedFileError: if the working copy's own record is damaged or was written by
            a newer version; nothing is changed.
        OSError: if a file cannot be read or written.
    """
    copies = _read(work / COPIES)
    sentences: list[str] = []
    try:
        for name in sources(root):
            sentences += _follow_number(work, name, copies)
            sentences += _bring_up_to_date(root / name, work / name, name, copies)
    finally:  # what was copied before an error is remembered, too
        _write(work / COPIES, copies)
    return sentences


def sources(root: Path) -> list[str]:
    """Return the files of a working copy, as paths in the repository."""
    names = {}
    for lang in LANGUAGES:
        for lesson in lessons():
            names[lesson_path(lesson, lang, root)] = True
            names[exercise_path(lesson, lang)] = True
        edition = "zh/" if lang == "zh" else ""
        for page in sorted((root / edition / "book").glob("*.md")):
            names[f"{edition}book/{page.name}"] = True  # lessons link to some
    return [name for name in names if (root / name).is_file()]


def newer_versions(work: Path) -> list[str]:
    """Return the new versions that lie beside notebooks with the learner's changes."""
    copies = _read(work / COPIES)
    names = (beside(Path(name)).as_posix() for name, c in copies.items() if c.offered)
    return [name for name in names if (work / name).is_file()]


def beside(path: Path) -> Path:
    """Return the path of a new version: `NAME.new.ipynb` for `NAME.ipynb`."""
    return path.with_name(f"{path.stem}.new{path.suffix}")


def digest(path: Path) -> str:
    """Return a hash of a file, for a notebook of its text and code only.

    JupyterLab rewrites outputs, execution counts and metadata whenever a notebook is
    run or saved.
    """
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(content)["cells"]
            essence = [
                [c["cell_type"], "".join(c["source"]), c.get("attachments", {})]
                for c in cells
            ]
            content = json.dumps(essence, sort_keys=True).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # no notebook (any more): every byte counts
    return hashlib.sha256(content).hexdigest()


def _bring_up_to_date(
    source: Path, target: Path, name: str, copies: dict[str, Copy]
) -> Iterator[str]:
    new = digest(source)
    copy = copies.setdefault(name, Copy(""))
    current = digest(target) if target.exists() else None
    offer = beside(target)
    untouched_offer = offer.exists() and digest(offer) == copy.offered
    if current in (new, None, copy.digest):
        if current != new:
            _copy(source, target)
        if untouched_offer:  # there is nothing left to choose between
            offer.unlink()
        copies[name] = Copy(new)
    elif new not in (copy.digest, copy.offered):
        if offer.exists() and not untouched_offer:
            yield text("work.blocked", path=name, new=offer.name)
            return
        _copy(source, offer)
        copy.offered = new
        yield text("work.newer", path=name, new=offer.name)


def _follow_number(work: Path, name: str, copies: dict[str, Copy]) -> Iterator[str]:
    """Rename the copy of a lesson that has got another number since."""
    if name in copies or (work / name).exists():
        return
    folder, slug = Path(name).parent, NUMBER.sub("", Path(name).name)
    for old in list(copies):
        path = Path(old)
        same = path.parent == folder and NUMBER.sub("", path.name) == slug
        if same and path.suffix == ".ipynb" and (work / old).is_file():
            os.replace(work / old, work / name)
            copies[name] = copies.pop(old)
            if digest(work / name) != copies[name].digest:
                yield text("work.renamed", old=old, path=name)
            return


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def _read(path: Path) -> dict[str, Copy]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
        if isinstance(version, int) and version > FORMAT:
            raise DamagedFileError(text("work.newer_format", path=path))
        copies = {name: Copy(**row) for name, row in content["files"].items()}
        valid = version == FORMAT and all(
            isinstance(value, str)
            for c in copies.values()
            for value in vars(c).values()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedFileError(text("work.damaged", path=path)) from error
    if not valid:
        raise DamagedFileError(text("work.damaged", path=path))
    return copies


def _write(path: Path, copies: dict[str, Copy]) -> None:
    rows = {name: asdict(copy) for name, copy in copies.items()}
    with atomic_write(path) as temporary:
        content = json.dumps({"format": FORMAT, "files": rows}, indent=1)
        temporary.write_text(content + "\n", encoding="utf-8")
