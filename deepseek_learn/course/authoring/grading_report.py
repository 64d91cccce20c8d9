"""The report of a grading run: two tables for spreadsheets, and a page to look at."""

import csv
import html
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...catalog import language, text
from ...escaping import printable
from ...files import atomic_write
from ..checking import MARKS
from ..lessons import lesson as find_lesson
from .submissions import Submission

NBGRADER = (  # the columns of `nbgrader export`
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
)
LONGEST = 300  # characters of a reason
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem;
  max-width: 70rem; color: #1b2a41; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } div { overflow-x: auto }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ccd3da; text-align: left }
td.n { text-align: right } .passed { background: #e3f4e8 } .failed { background: #fbe6e4 }
.raised { background: #fdf0d5 }"""


@dataclass(frozen=True)
class Grade:
    """The grade of one answer.

    Attributes:
        status: "passed", "failed", "raised", "not attempted" or "missing".
        outside: whether the check was out of the answer's reach.
        why: what the answer did wrong, in words.
    """

    student: str
    lesson: str
    problem: str
    title: str
    status: str
    points: int
    possible: int
    seconds: float
    outside: bool
    why: str


def write(
    out: str | Path,
    grades: Sequence[Grade],
    students: Sequence[Submission],
    seed: int,
    minutes: float,
) -> None:
    """Write `grades.csv`, `scores.csv` and `index.html`."""
    contents = {
        "grades.csv": table(grades),
        "scores.csv": scores(grades),
        "index.html": page(grades, students, seed, minutes),
    }
    for name, content in contents.items():
        with atomic_write(Path(out) / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def table(grades: Sequence[Grade]) -> str:
    """Return the grades as CSV, one line per answer."""
    rows = (asdict(g) | {"seconds": round(g.seconds, 1)} for g in grades)
    return _csv([field.name for field in fields(Grade)], rows)


def scores(grades: Sequence[Grade]) -> str:
    """Return one line per student and assignment, in the format of `nbgrader export`.

    That is what teachers import into their learning platform. Names, addresses and
    dates are empty, since only nbgrader's database would know them.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for grade in grades:
        assignment = find_lesson(grade.lesson).assignment
        facts = {"assignment": assignment, "student_id": grade.student}
        row = rows.setdefault(
            (assignment, grade.student),
            facts | dict.fromkeys(("raw_score", "score", "max_score"), 0),
        )
        row["raw_score"] += grade.points
        row["score"] += grade.points
        row["max_score"] += grade.possible
    return _csv(NBGRADER, (rows[key] for key in sorted(rows)))


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: harmless(value) for name, value in row.items()})
    return file.getvalue()


def page(
    grades: Sequence[Grade], students: Sequence[Submission], seed: int, minutes: float
) -> str:
    """Return the report as a page of HTML."""
    head = text(
        "grading.head", students=len(students), seed=seed, minutes=f"{minutes:.1f}"
    )
    unread = [f"{s.student}: {reason}" for s in students for reason in s.unreadable]
    items = "".join(f"<li>{escaped(each)}</li>" for each in unread)
    files = f"<h2>{text('grading.unreadable')}</h2><ul>{items}</ul>" if unread else ""
    title = text("grading.title")
    return (
        f'<!doctype html><html lang="{language()}"><meta charset="utf-8">'
        f"<title>{title}</title>"
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style><h1>{title}</h1><p>{html.escape(head)}</p>"
        f"<h2>{text('grading.who')}</h2><div>{_students(grades)}</div>"
        f"<h2>{text('grading.where')}</h2><div>{_problems(grades)}</div>{files}"
        f"<p>{text('grading.legend')}</p></html>\n"
    )


def _students(grades: Sequence[Grade]) -> str:
    """Return the table of students: points, time, and a mark per problem."""
    names = list(dict.fromkeys(grade.problem for grade in grades))
    rows = []
    for student in dict.fromkeys(grade.student for grade in grades):
        own = {grade.problem: grade for grade in grades if grade.student == student}
        points = sum(grade.points for grade in own.values())
        possible = sum(grade.possible for grade in own.values())
        seconds = sum(grade.seconds for grade in own.values())
        cells = "".join(_mark(own[name]) for name in names)
        rows.append(
            f"<tr><th scope=row>{escaped(student)}</th><td class=n>{points} / {possible}"
            f"</td><td class=n>{seconds:.0f} s</td>{cells}</tr>"
        )
    words = [text(f"grading.{key}") for key in ("student", "points", "time")] + names
    heads = "".join(f"<th scope=col>{html.escape(word)}</th>" for word in words)
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _mark(grade: Grade) -> str:
    mark = MARKS.get(grade.status, "") + ("" if grade.outside else "*")
    words = escaped(f"{grade.status}. {grade.why}")
    return f'<td class="{grade.status.split()[0]}" title="{words}">{mark}</td>'


def _problems(grades: Sequence[Grade]) -> str:
    """Return the table of problems, the hardest first, with the commonest mistake."""
    rows = []
    for name in dict.fromkeys(grade.problem for grade in grades):
        group = [grade for grade in grades if grade.problem == name]
        passed = sum(grade.status == "passed" for grade in group) / len(group)
        mistakes = Counter(
            mistake(grade) for grade in group if grade.status != "passed"
        )
        common = mistakes.most_common(1)[0] if mistakes else ("", 0)
        rows.append((passed, group[0], common))
    cells = "".join(
        f"<tr><td>{escaped(grade.title)} <code>{grade.problem}</code></td>"
        f"<td class=n>{passed:.0%}</td><td>{escaped(why)}"
        f"{f' ({count})' if count else ''}</td></tr>"
        for passed, grade, (why, count) in sorted(rows, key=lambda row: row[0])
    )
    words = [text(f"grading.{key}") for key in ("problem", "passed", "mistake")]
    heads = "".join(f"<th scope=col>{html.escape(word)}</th>" for word in words)
    return f"<table><tr>{heads}</tr>{cells}</table>"


def mistake(grade: Grade) -> str:
    """Return what went wrong, without the numbers that differ between students."""
    words = grade.why.splitlines()[0] if grade.why else grade.status
    return "".join("#" if letter.isdigit() else letter for letter in words)


def visible(words: object) -> str:
    """Return text on one line, without characters that could repaint a screen."""
    return printable(" ".join(str(words).split()), LONGEST)


def escaped(words: object) -> str:
    return html.escape(visible(words))


def harmless(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    words = visible(value)
    return f"'{words}" if words[:1] in ("=", "+", "-", "@") else words
