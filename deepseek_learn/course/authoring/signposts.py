"""The last cells of a lesson: a link to its exercises, and the learner's progress.

They are generated in both languages, so that every lesson leads on in the same way.
Their links work on GitHub, in JupyterLab and in the book.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog import LANGUAGES, choose, text
from .. import problems
from ..display import duration
from ..lessons import Lesson, lesson_after, lessons
from ..places import exercise_path, lesson_path, link
from .cells import code, markdown

if TYPE_CHECKING:
    from nbformat import NotebookNode

EXERCISES, PROGRESS = "exercises-link", "progress"  # the ids of the generated cells
GENERATED = "generated"  # the tag of a text that nobody translates
HIDDEN = "remove-cell"  # the tag of a cell that the book leaves out


def files(root: Path) -> dict[Path, str]:
    """Return every lesson in both languages, with its last cells as they should be."""
    contents = {}
    for lesson in lessons():
        for lang in LANGUAGES:
            path = lesson_path(lesson, lang, root)
            if lang == "en" or path.startswith("zh/"):  # else it is not translated
                contents[root / path] = _updated(root / path, lesson, lang, root)
    return contents


def last_cells(lesson: Lesson, lang: str, root: Path) -> list["NotebookNode"]:
    """Return the two cells that end a lesson."""
    source = lesson_path(lesson, lang, root)
    return [
        markdown(EXERCISES, _way_on(lesson, lang, source, root), tags=[GENERATED]),
        progress_cell(lesson),
    ]


def progress_cell(lesson: Lesson) -> "NotebookNode":
    """Return the cell that shows the progress in a lesson, except in the book."""
    return code(PROGRESS, f'course.progress("{lesson.slug}")', tags=[HIDDEN])


def next_lesson(lesson: Lesson, lang: str, source: str, root: Path) -> str:
    """Return the sentence that leads from the file `source` to the next lesson."""
    after = lesson_after(lesson)
    if after is None:
        return text("path.end", lang)
    anchor = anchor_to(after, lang, source, root)
    if after.stage != lesson.stage:
        stage = text(f"stage.{after.stage}", lang)
        return text("path.next_stage", lang, stage=stage, lesson=anchor)
    return text("path.next", lang, lesson=anchor)


def anchor_to(lesson: Lesson, lang: str, source: str, root: Path) -> str:
    """Return a Markdown link from the file `source` to a lesson."""
    target = lesson_path(lesson, lang, root)
    title = f"{lesson.number} {choose(lesson.title, lang)}"
    if lang == "zh" and not target.startswith("zh/"):
        title += text("path.in_english", lang)
    return f"[{title}]({link(target, source)})"


def _way_on(lesson: Lesson, lang: str, source: str, root: Path) -> str:
    if not lesson.problems:
        return next_lesson(lesson, lang, source, root)
    minutes = sum(problem.minutes for problem in problems.load(lesson.slug))
    return text(
        "path.exercises",
        lang,
        link=link(exercise_path(lesson, lang), source),
        count=len(lesson.problems),
        time=duration(minutes, lang),
    )


def _updated(path: Path, lesson: Lesson, lang: str, root: Path) -> str:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    old = {cell.id: cell for cell in notebook.cells}
    new = last_cells(lesson, lang, root)
    if PROGRESS in old:  # it stays a cell that has been run, without an output
        new[-1].execution_count = old[PROGRESS].execution_count
    others = [c for c in notebook.cells if c.id not in (EXERCISES, PROGRESS)]
    notebook.cells = [*others, *new]
    return nbformat.writes(notebook) + "\n"
