"""The contents of the book, in which each lesson is followed by its exercises.

`_toc.yml` and `zh/_toc.yml` are written by hand except for the lessons of a stage,
which stand between two comments and come from `lessons.toml`:

      # lessons: basic
      - file: notebooks/basic/00_tour
        sections:
          - file: exercises/basic/00_tour
      # end of lessons
"""

import re
from pathlib import Path

from ..lessons import Lesson, lessons
from ..places import exercise_path, lesson_path

BLOCK = re.compile(r"^( *)# lessons: (\w+)\n(?:.*\n)*?\1# end of lessons\n", re.M)
EDITIONS = {"en": "_toc.yml", "zh": "zh/_toc.yml"}


def files(root: Path) -> dict[Path, str]:
    """Return both lists of contents, with the lessons as they should be."""
    return {
        root / name: _updated((root / name).read_text(encoding="utf-8"), lang, root)
        for lang, name in EDITIONS.items()
    }


def _updated(source: str, lang: str, root: Path) -> str:
    def block(match: re.Match) -> str:
        indent, stage = match.groups()
        part = [each for each in lessons() if each.stage == stage]
        lines = [line for each in part for line in _entry(each, lang, root)]
        lines = [f"# lessons: {stage}", *lines, "# end of lessons"]
        return "".join(f"{indent}{line}\n" for line in lines)

    return BLOCK.sub(block, source)


def _entry(lesson: Lesson, lang: str, root: Path) -> list[str]:
    """Return a lesson and below it its exercises.

    A lesson that has not been translated is not a page of the Chinese book, whose
    exercises then stand alone.
    """
    edition = "zh/" if lang == "zh" else ""
    paths = [lesson_path(lesson, lang, root)]
    paths += [exercise_path(lesson, lang)] if lesson.problems else []
    pages = [
        path.removeprefix(edition).removesuffix(".ipynb")
        for path in paths
        if path.startswith(edition)
    ]
    if not pages:
        return []
    below = [f"    - file: {page}" for page in pages[1:]]
    return [f"- file: {pages[0]}", *(["  sections:", *below] if below else [])]
