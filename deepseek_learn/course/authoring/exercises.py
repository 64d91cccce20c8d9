"""Generate the exercise notebooks from the problems; they are never edited manually."""

from pathlib import Path
from typing import Any

from ...catalog import LANGUAGES, choose, text
from ...files import REPOSITORY, atomic_write
from .. import problems
from ..lessons import Lesson, lessons
from ..places import exercise_path
from ..problem import Problem
from ..quiz_form import quiz
from . import signposts
from .cells import code, markdown
from .links import colab, pip_spec

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def generate(root: str | Path, check: bool = False) -> list[Path]:
    """Generate all exercise notebooks in both languages.

    Args:
        root: the repository. The notebooks are written to `exercises/` and
            `zh/exercises/`.
        check: if True, only report the stale files and do not write anything.

    Returns:
        The files that were out of date. Notebooks that no longer belong to any lesson
        are included, but they are not deleted.
    """
    root = Path(root)
    contents = {root / path: content for path, content in _notebooks().items()}
    stale = [path for path, content in contents.items() if _read(path) != content]
    if not check:
        for path in stale:
            with atomic_write(path) as temporary:
                temporary.write_text(contents[path], encoding="utf-8")
    return stale + [path for path in _existing(root) if path not in contents]


def notebook(lesson: Lesson, lang: str) -> dict[str, Any]:
    """Build the exercise notebook for a lesson.

    The code cells are the same in both languages, except for the cell with the tag
    "start", which sets the language.
    """
    cells = [*opening_cells(lesson, lang)]
    for number, problem in enumerate(problems.load(lesson.slug), start=1):
        cells += problem_cells(problem, number, lang)
    cells += quiz_cells(lesson, lang)
    cells += closing_cells(lesson, lang)
    return assemble(cells, {"kernelspec": KERNEL, "language_info": {"name": "python"}})


def opening_cells(lesson: Lesson, lang: str) -> list:
    """Return the title cell with a Colab link, the setup cell and the start cell."""
    heading = text("exercises.heading", lang, title=choose(lesson.title, lang))
    link = colab(exercise_path(lesson, lang))
    badge = f"[{text('exercises.colab', lang)}]({link})\n\n" if link else ""
    anchor = signposts.anchor_to(lesson, lang, exercise_path(lesson, lang), REPOSITORY)
    instructions = text("exercises.how", lang)
    words = f"{text('exercises.lesson', lang, lesson=anchor)}\n\n{instructions}"
    return [
        markdown("heading", f"# {heading}\n\n{badge}{words}"),
        code("setup", setup_source(), tags=["setup"]),
        code("start", start_source(lesson.slug, lang), tags=["start"]),
    ]


def closing_cells(lesson: Lesson, lang: str) -> list:
    """Return the link to the next lesson and the progress in this one."""
    path = exercise_path(lesson, lang)
    words = signposts.next_lesson(lesson, lang, path, REPOSITORY)
    return [markdown("next", words), signposts.progress_cell(lesson)]


def setup_source() -> str:
    """Return the code that installs the course on Colab and does nothing elsewhere."""
    return f"""import os
import sys

if "google.colab" in sys.modules:
    SPEC = "{pip_spec()}"
    SPEC = os.environ.get("DEEPSEEK_LEARN_SPEC", SPEC)
    %pip install -q "{{SPEC}}\""""


def start_source(slug: str, lang: str) -> str:
    """Return the code that starts a lesson.

    This is the only code that depends on the language.
    """
    arguments = f'"{slug}"' if lang == "en" else f'"{slug}", lang="{lang}"'
    return f"from deepseek_learn import course\n\ncourse.start({arguments})"


def problem_cells(problem: Problem, number: int, lang: str) -> list:
    """Return the prompt, starter, check, hint and solution cells for an exercise.

    A graded problem has no solution cell.
    """
    id, answer = problem.id, problem.answer
    solution = f'# course.solution("{id}")'
    return [
        markdown(f"{id}-prompt", prompt_source(problem, number, lang)),
        code(f"{id}-answer", problem.starter.strip()),
        code(f"{id}-check", f'course.check("{id}", {answer})'),
        code(f"{id}-hint", f'# course.hint("{id}")'),
        *([code(f"{id}-solution", solution)] if problem.kind == "practice" else []),
    ]


def prompt_source(problem: Problem, number: int, lang: str) -> str:
    """Return the Markdown for a prompt, under a numbered title."""
    facts = {"points": problem.points, "minutes": problem.minutes}
    meta = text("exercises.meta", lang, **facts)
    meta += text("exercises.graded", lang) if problem.kind == "graded" else ""
    title = choose(problem.title, lang)
    return f"## {number}. {title}\n\n*{meta}*\n\n{choose(problem.prompt, lang).strip()}"


def quiz_cells(lesson: Lesson, lang: str) -> list:
    """Return the heading and the code cell of the lesson's quiz.

    The code cell counts as run and has its output, so that the book can show the quiz.
    """
    from nbformat.v4 import new_output

    shown = quiz(lesson.slug, lang)
    data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    cell = code("quiz", f'course.quiz("{lesson.slug}")')
    cell.execution_count = 1
    cell.outputs = [new_output("execute_result", data=data, execution_count=1)]
    return [markdown("quiz-heading", text("quiz.heading", lang)), cell]


def assemble(cells: list, metadata: dict) -> Any:
    """Build a notebook in format 4.5, which is the first format with cell ids."""
    from nbformat.v4 import new_notebook

    result = new_notebook(cells=cells, metadata=metadata)
    result.nbformat_minor = 5
    return result


def _notebooks() -> dict[str, str]:
    import nbformat

    contents = {}
    for lesson in lessons():
        for lang in LANGUAGES if lesson.problems else ():
            content = nbformat.writes(notebook(lesson, lang))
            contents[exercise_path(lesson, lang)] = content.rstrip("\n") + "\n"
    return contents


def _existing(root: Path) -> list[Path]:
    return sorted((root / "exercises").glob("*/*.ipynb")) + sorted(
        (root / "zh" / "exercises").glob("*/*.ipynb")
    )


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
