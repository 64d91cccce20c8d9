"""Write what follows from `lessons.toml`: contents, links between lessons, syllabus.

The exercise notebooks follow from it, too; `exercises.generate` writes them.
"""

from pathlib import Path

from ...files import atomic_write
from . import contents, signposts, syllabus

PARTS = (contents, signposts, syllabus)


def write(root: str | Path, check: bool = False) -> list[Path]:
    """Bring the contents, the last cells of the lessons and the syllabus up to date.

    Args:
        root: the repository.
        check: if True, only report the stale files and do not write anything.

    Returns:
        The files that were out of date.
    """
    stale = []
    for part in PARTS:
        for path, content in part.files(Path(root)).items():
            if path.read_text(encoding="utf-8") != content:
                stale.append(path)
                if not check:
                    with atomic_write(path) as temporary:
                        temporary.write_text(content, encoding="utf-8")
    return stale
