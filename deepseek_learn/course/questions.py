"""The questions of a quiz, which are read from `quizzes/<stage>_<number>_<slug>.toml`.

A file lists its questions in this format, where each text is `{ en = ..., zh = ... }`:

    [[question]]
    slug = "which_split"            # never changes: flash cards are updated by it
    text = { en = "...", zh = "..." }
    [[question.answers]]            # three or four, exactly one of them with right = true
    right = true
    text = { en = "...", zh = "..." }
    why = { en = "...", zh = "..." }  # one sentence: why it is right or wrong; `text`
                                      # states a reason in all answers or in none
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from ..catalog import LANGUAGES, choose
from ..errors import DamagedFileError
from .problem import Text

FEWEST, MOST = 3, 4  # answers of a question


@dataclass(frozen=True)
class Answer:
    """One answer to a question.

    Attributes:
        text: the answer.
        why: a sentence that says why it is right or wrong.
        right: whether it is the right answer.
    """

    text: Text
    why: Text
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with three or four answers, of which exactly one is right.

    Attributes:
        slug: the identifier of the question within its file.
        text: the question.
        answers: the answers, in the order in which they are shown.
        area: the field that the question belongs to; empty, except in the diagnostic.
    """

    slug: str
    text: Text
    answers: tuple[Answer, ...]
    area: str = ""

    @property
    def right(self) -> int:
        """The position of the right answer."""
        return next(i for i, answer in enumerate(self.answers) if answer.right)


def in_terminal(questions: Iterable[Question], lang: str | None = None) -> str:
    """Return the questions as plain text, with lettered answers and no solution."""
    blocks = []
    for number, question in enumerate(questions, start=1):
        answers = zip("abcd", question.answers, strict=False)
        lines = [f"   {letter}) {choose(each.text, lang)}" for letter, each in answers]
        blocks.append("\n".join([f"{number}. {choose(question.text, lang)}", *lines]))
    return "\n\n".join(blocks)


def read_questions(path: Traversable) -> tuple[Question, ...]:
    """Read the questions of a file.

    Raises:
        DamagedFileError: if the file is missing or malformed; the message names the
            file, the question and what is wrong with it.
    """
    return parse_questions(read_toml(path), path.name)


def read_toml(path: Traversable) -> dict[str, Any]:
    """Read a TOML file; errors name the file.

    Raises:
        DamagedFileError: if the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFileError(f"{path.name} is missing.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path.name} is not a TOML file: {error}.") from error


def parse_questions(tables: Mapping[str, Any], name: str) -> tuple[Question, ...]:
    """Return the questions in `tables`, the content of the file `name`.

    Raises:
        DamagedFileError: if a question is malformed.
    """
    rows = tables.get("question")
    require(isinstance(rows, list) and bool(rows), name, "has no [[question]]")
    assert isinstance(rows, list)  # for mypy
    questions = tuple(
        _question(row, f"{name}, question {i}") for i, row in rows_of(rows)
    )
    slugs = [each.slug for each in questions]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    require(not twice, name, f"has the slug {twice[:1]} more than once")
    return questions


def rows_of(rows: list) -> list[tuple[int, Any]]:
    return list(enumerate(rows, start=1))


def require(condition: bool, where: str, problem: str) -> None:
    """Raise an error with one sentence unless the condition holds."""
    if not condition:
        raise DamagedFileError(f"{where} {problem}.")


def words(value: Any, where: str, field: str) -> Text:
    """Return a text after checking that it exists in every language."""
    valid = isinstance(value, dict) and set(value) == set(LANGUAGES)
    valid = valid and all(isinstance(v, str) and v.strip() for v in value.values())
    languages = " and ".join(LANGUAGES)
    require(valid, where, f"must have a {field} in {languages}; got {value!r}")
    return value


def _question(row: Any, where: str) -> Question:
    _known(row, {"slug", "text", "answers", "area"}, where)
    slug = row.get("slug")
    valid = isinstance(slug, str) and bool(re.fullmatch(r"[a-z0-9_]+", slug))
    require(valid, where, f"must have a slug of a-z, 0-9 and _; got {slug!r}")
    where = f"{where} ({slug})"
    answers = row.get("answers")
    valid = isinstance(answers, list) and FEWEST <= len(answers) <= MOST
    count = len(answers) if isinstance(answers, list) else 0
    require(valid, where, f"must have {FEWEST} or {MOST} answers; got {count}")
    parsed = tuple(_answer(a, f"{where}, answer {i}") for i, a in rows_of(answers))
    right = sum(answer.right for answer in parsed)
    require(right == 1, where, f"must have exactly one right answer; got {right}")
    area = row.get("area", "")
    require(isinstance(area, str), where, f"must have a text as its area; got {area!r}")
    return Question(slug, words(row.get("text"), where, "text"), parsed, area)


def _answer(row: Any, where: str) -> Answer:
    _known(row, {"text", "why", "right"}, where)
    right = row.get("right", False)
    require(isinstance(right, bool), where, f"has right = {right!r}, not true or false")
    shown, why = (words(row.get(field), where, field) for field in ("text", "why"))
    return Answer(shown, why, right)


def _known(row: Any, fields: set[str], where: str) -> None:
    require(isinstance(row, dict), where, f"must be a table; got {row!r}")
    unknown = sorted(set(row) - fields)
    accepted = ", ".join(sorted(fields))
    require(not unknown, where, f"has the field {unknown[:1]}; it may have {accepted}")
