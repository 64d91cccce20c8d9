"""The start page: where the learner is, and what comes next.

`START.ipynb` and its Chinese edition stand at the top of the working copy. The module
cannot be called `start_page`: importing it would replace the function.
"""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import choose, language, set_language, text
from ..errors import DeepSeekLearnError
from ..files import atomic_write
from . import record
from .display import Words, duration, html_bar
from .places import course_folder
from .progress_view import PERSONAL, Progress, progress
from .standing import by_stage, counts
from .working_copy import newer_versions

if TYPE_CHECKING:
    from nbformat import NotebookNode

PAGES = {"en": "START.ipynb", "zh": "START.zh.ipynb"}
HEADING, CELL = "heading", "start-page"  # the ids of the generated cells


def start_page(lang: str = "en") -> "StartPage":
    """Return the start page, as of now; this also sets the language.

    Raises:
        ValueError: if `lang` is neither "en" nor "zh".
        DamagedFileError: if the learner's progress or the working copy's own file is
            damaged or has a newer format.

    >>> from deepseek_learn import course
    >>> page = course.start_page("en")
    """
    set_language(lang)
    root = course_folder()
    return StartPage(progress(), tuple(newer_versions(root)) if root else ())


@dataclass(frozen=True)
class StartPage:
    """Where the learner is and what comes next.

    Attributes:
        progress: the learner's progress.
        offers: new versions of notebooks that lie beside the learner's own.
    """

    progress: Progress
    offers: tuple[str, ...] = ()

    def here(self) -> str:
        """Return a sentence about the stage that the learner is in."""
        latest = max(self.progress.lessons, key=lambda each: each.last)
        if not latest.last:
            return text("page.first")
        return text("page.here", lesson=choose(latest.lesson.title), **self._stage())

    def _stage(self) -> dict[str, Any]:
        every = self.progress.lessons
        latest = max(every, key=lambda each: each.last).lesson
        part = dict(by_stage(every))[latest.stage]
        passed, count = counts(part)
        left = duration(sum(each.minutes_left for each in part))
        name = text(f"stage.{latest.stage}")
        return {"stage": name, "passed": passed, "count": count, "left": left}

    def __repr__(self) -> str:
        offers = [text("page.offer", path=path) for path in self.offers]
        return "\n".join([self.here(), repr(self.progress), *offers])

    def _repr_html_(self) -> str:
        stage = self._stage()
        bar = html_bar(stage["passed"], stage["count"], stage["stage"], "20em")
        left = text("page.left", **stage)
        offers = "".join(
            f"<p>{html.escape(text('page.offer', path=path))}</p>"
            for path in self.offers
        )
        return (
            f"<p>{html.escape(self.here())}</p>"
            f"<p><b>{self.progress.next_html()}</b></p>"
            f"<p>{bar} {html.escape(left)}</p>{offers}{self.progress.table_html()}"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """Mark the output as personal in its metadata, so that it is not published."""
        return {}, {PERSONAL: True}


def write_start_pages(work: Path) -> list[Path]:
    """Write the start page in both languages into the working copy.

    Cells that the learner added to it are kept.

    Returns:
        The paths of both notebooks, the English one first.
    """
    before = language()
    try:
        for lang, name in PAGES.items():
            _write(work / name, lang)
    finally:
        set_language(before)
    return [work / name for name in PAGES.values()]


def _write(path: Path, lang: str) -> None:
    import nbformat

    notebook = _blank(lang)
    if path.exists():
        try:
            old = nbformat.read(path, as_version=4)
        except Exception:  # no notebook any more: it is the learner's own file
            return
        ours = {cell.id: cell for cell in notebook.cells}
        if CELL not in [cell.get("id") for cell in old.cells]:
            return
        notebook.cells = [ours.get(cell.get("id"), cell) for cell in old.cells]
    cell = next(cell for cell in notebook.cells if cell.id == CELL)
    cell.outputs = [_output(path.parent, lang)]
    with atomic_write(path) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _blank(lang: str) -> "NotebookNode":
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    argument = "" if lang == "en" else f'lang="{lang}"'
    start, questions = (
        f"from deepseek_learn import course\n\ncourse.{name}({argument})"
        for name in ("start_page", "diagnostic")
    )
    cells = [
        new_markdown_cell(text("page.heading", lang), id=HEADING),
        new_code_cell(start, id=CELL),
        new_markdown_cell(
            text("page.diagnostic", lang).strip(), id="diagnostic-heading"
        ),
        new_code_cell(questions, id="diagnostic"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    notebook.nbformat_minor = 5
    return notebook


def _output(work: Path, lang: str) -> "NotebookNode":
    """Return the output that running the cell would give."""
    from nbformat.v4 import new_output

    set_language(lang)
    page: StartPage | Words
    try:
        shown = Progress(record.read(), folder=work)
        page = StartPage(shown, tuple(newer_versions(work)))
    except DeepSeekLearnError as error:
        page = Words(str(error))
    data = {"text/html": page._repr_html_(), "text/plain": repr(page)}
    return new_output("display_data", data, metadata={PERSONAL: True})
