"""Create assignments in nbgrader's format, with hidden tests and points.

nbgrader makes the students' version of them and hands it out; `grading` grades what comes
back. `nbgrader autograde` would run the students' code with the teacher's permissions,
beside its tests, and would leave a notebook whose kernel died without a grade.
"""

import zlib
from pathlib import Path
from typing import Any

from ...catalog import choose, text
from ...errors import DeepSeekLearnError
from ...files import REPOSITORY, atomic_write
from .. import problems
from ..lessons import STAGES, Lesson, lessons
from ..problem import Problem
from . import exercises

# The stub contains no code, because the student fills in the starter above it.
CONFIG = '''"""nbgrader settings for these assignments."""

from pathlib import Path

c = get_config()  # noqa: F821 - defined by nbgrader
c.CourseDirectory.course_id = "deepseek_learn"
# nbgrader needs an absolute path; it must be run in this folder
c.CourseDirectory.root = str(Path.cwd())
c.ClearSolutions.code_stub = {"python": "# replace the ... above with your answer"}
'''


def assignment(
    out_dir: str | Path,
    stage: str = "basic",
    lesson: str | None = None,
    lang: str = "en",
    seed: int = 1,
    repository: str | Path = REPOSITORY,
) -> list[Path]:
    """Write one nbgrader source assignment per lesson, and an `nbgrader_config.py`.

    Args:
        out_dir: the class folder, in which nbgrader must be run. The assignments are
            written to `source/<stage>_<NN>_<slug>/<NN>_<slug>.ipynb` below it.
        stage: "basic", "practical" or "innovation".
        lesson: the slug of a lesson; by default, all lessons in the stage.
        lang: "en" or "zh".
        seed: the seed of the random inputs in the hidden tests; change it every term.
        repository: a teacher's checkout, which contains the solutions to the graded
            problems.

    Returns:
        The paths of the notebooks.

    Raises:
        DeepSeekLearnError: if the stage has no such lesson with exercises, or if the
            solution to a graded problem is missing. In both cases, nothing is written.
    """
    if stage not in STAGES:
        raise DeepSeekLearnError(
            f"stage must be one of {', '.join(STAGES)}; got {stage!r}."
        )
    available = [each for each in lessons() if each.stage == stage and each.problems]
    selection = [each for each in available if lesson in (None, each.slug)]
    if not selection:
        slugs = ", ".join(each.slug for each in available)
        raise DeepSeekLearnError(
            f"the {stage} stage has no lesson {lesson!r} with exercises; its lessons "
            f"are {slugs}."
        )
    source, files = Path(out_dir) / "source", {}
    for each in selection:
        path = source / each.assignment / Path(each.file).name
        files[path] = _content(each, lang, seed, Path(repository))
    files[Path(out_dir) / "nbgrader_config.py"] = CONFIG
    for path, content in files.items():
        with atomic_write(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return [path for path in files if path.suffix == ".ipynb"]


def _content(lesson: Lesson, lang: str, seed: int, repository: Path) -> str:
    import nbformat

    title = text("exercises.heading", lang, title=choose(lesson.title, lang))
    instructions = text("classroom.how", lang)
    cells = [
        exercises.markdown("heading", f"# {title}\n\n{instructions}"),
        exercises.code("setup", exercises.setup_source()),
        exercises.code("start", exercises.start_source(lesson.slug, lang)),
    ]
    for number, problem in enumerate(problems.load(lesson.slug), start=1):
        cells += _cells(problem, number, lang, seed, repository)
    metadata = {"kernelspec": exercises.KERNEL, "language_info": {"name": "python"}}
    return nbformat.writes(exercises.assemble(cells, metadata)) + "\n"


def _cells(
    problem: Problem, number: int, lang: str, seed: int, repository: Path
) -> list:
    solution = problem.reference(repository)
    if solution is None:
        raise DeepSeekLearnError(
            f"the solution of the graded problem {problem.id!r} is missing: "
            f"{repository} has no exercises/graded/{problem.id}.py; pass a checkout "
            f"that has this file."
        )
    answer = exercises.code(f"{problem.id}-answer", _answer_source(problem, solution))
    tests = exercises.code(f"{problem.id}-tests", _test_source(problem, seed))
    prompt = exercises.prompt_source(problem, number, lang)
    return [
        exercises.markdown(f"{problem.id}-prompt", prompt),
        _mark_for_nbgrader(answer, f"{problem.id}-answer", solution=True),
        _mark_for_nbgrader(
            tests, f"{problem.id}-tests", grade=True, points=problem.points
        ),
    ]


def _answer_source(problem: Problem, solution: str) -> str:
    return f"""{problem.starter.strip()}


### BEGIN SOLUTION
{solution.strip()}
### END SOLUTION"""


def _test_source(problem: Problem, seed: int) -> str:
    """Return the code for a visible check and for a hidden check used in grading.

    The visible check uses random inputs, and the hidden check uses fixed inputs.
    """
    hidden = zlib.crc32(f"{problem.id}:{seed}".encode()) % 2**31
    call = f'course.check("{problem.id}", {problem.answer}'
    return f"""print({call}))
### BEGIN HIDDEN TESTS
outcome = {call}, seed={hidden}, record=False)
assert outcome.passed, outcome
### END HIDDEN TESTS"""


def _mark_for_nbgrader(
    cell: Any,
    name: str,
    grade: bool = False,
    solution: bool = False,
    points: int = 0,
) -> Any:
    facts: dict[str, Any] = {"schema_version": 3, "grade_id": name, "task": False}
    facts |= {"grade": grade, "solution": solution, "locked": grade}
    cell.metadata["nbgrader"] = facts | ({"points": points} if grade else {})
    return cell
