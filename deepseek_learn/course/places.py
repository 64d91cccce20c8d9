"""Where the notebooks of a lesson are, and the links between them.

The repository and the learner's working copy have the same folders, so that one
relative link works on GitHub, in JupyterLab and in the book.
"""

import os
from pathlib import Path

from .lessons import Lesson


def lesson_path(lesson: Lesson, lang: str, root: Path) -> str:
    """Return the path of a lesson in the course's folder `root`.

    If the lesson has not been translated, this is the English notebook.
    """
    chinese = f"zh/notebooks/{lesson.file}"
    if lang == "zh" and (root / chinese).exists():
        return chinese
    return f"notebooks/{lesson.file}"


def exercise_path(lesson: Lesson, lang: str) -> str:
    """Return the path of a lesson's exercise notebook in the course's folder."""
    return ("zh/" if lang == "zh" else "") + f"exercises/{lesson.file}"


def link(target: str, source: str) -> str:
    """Return the relative link from the file `source` to the file `target`.

    >>> link("exercises/basic/00_tour.ipynb", "notebooks/basic/00_tour.ipynb")
    '../../exercises/basic/00_tour.ipynb'
    """
    return Path(os.path.relpath(target, os.path.dirname(source) or ".")).as_posix()


def address(path: str, folder: Path) -> str | None:
    """Return the relative link from `folder` to the course's file `path`.

    It is None if `folder` is not in the course or the course has no such file.
    """
    root = course_folder(folder)
    if root is None or not (root / path).exists():
        return None
    return link(str(root / path), str(folder.resolve() / "notebook"))


def course_folder(start: Path | None = None) -> Path | None:
    """Return the nearest folder at or above `start` that contains the course.

    Args:
        start: the folder to begin with; by default the current one, which is the
            notebook's own folder in JupyterLab.

    Returns:
        A clone of the repository or a working copy, or None, for example on Colab.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        # `zh` has a folder of exercises, too, but no edition inside
        if (folder / "exercises").is_dir() and (folder / "zh" / "exercises").is_dir():
            return folder
    return None
