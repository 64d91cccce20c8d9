"""The learner's progress, stored in a small file in the user's data folder.

The file is never sent anywhere. Each record contains the problem and its version, the
outcome, the seed, the library version, a hash of the answer's code, and the time.
"""

import errno
import html
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import __version__
from ..catalog import choose, text
from ..errors import DamagedFileError
from ..files import atomic_write
from ..report import Report
from . import problems
from .lessons import lessons
from .problem import Problem
from .source_code import code_hash

if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMAT = 1
FIELDS: dict[str, Any] = {
    "problem": str,
    "version": int,
    "status": str,
    "seed": int,
    "library": str,
}
FIELDS |= {"time": str, "code": str | None}  # a hash, or null
LONGEST = 200  # maximum number of characters in a field
MOST = 1000  # maximum number of records
PERSONAL = "personal"  # metadata key of notebook outputs that must not be published
_notes_shown: set[str] = set()


def home() -> Path:
    """Return the folder in which the learner's progress is stored.

    This is `$DEEPSEEK_LEARN_HOME` if it is set, and otherwise the user's data folder.
    """
    if os.environ.get("DEEPSEEK_LEARN_HOME"):
        return Path(os.environ["DEEPSEEK_LEARN_HOME"])
    import platformdirs

    return Path(platformdirs.user_data_dir("deepseek_learn"))


def remember(problem: Problem, status: str, seed: int, answer: Any) -> str:
    """Add the outcome of a check to the learner's progress.

    Returns:
        An empty string, or the reason why the outcome could not be saved. The same
        reason is returned only once per session.
    """
    record = {"problem": problem.id, "version": problem.version, "status": status}
    record |= {"seed": seed, "library": __version__, "code": code_hash(answer)}
    record["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        _add([record])
    except DamagedFileError as error:
        return _once(text("progress.damaged", error=str(error)))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _once(text("progress.not_kept", folder=str(home()), reason=reason))
    return ""


def progress(
    *, export: str | Path | None = None, import_: str | Path | None = None
) -> "Progress":
    """Return the learner's progress, displayed as a progress bar and a table.

    Args:
        export: a file to which all records are written, for example to move them to
            another computer.
        import_: an exported file whose records are added first. A pass that has already
            been recorded is never lost.

    Raises:
        FileNotFoundError: if the file `import_` does not exist.
        IsADirectoryError: if `export` or `import_` is a folder; nothing is changed.
        OSError: if a file cannot be read or written; the message includes the file name
            and the reason.
        DamagedFileError: if a file is not a progress file or has a newer format;
            nothing is changed.
    """
    if export is not None and Path(export).is_dir():
        raise IsADirectoryError(text("progress.export_folder", path=str(export)))
    if import_ is not None:
        _import(Path(import_))
    records = _read(home() / "progress.json")
    if export is not None:
        with _explain_os_errors("progress.not_exported", path=str(export)):
            _write(Path(export), records)
    return Progress(tuple(records))


def _import(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(text("progress.import_folder", path=str(path)))
    if not path.exists():
        raise FileNotFoundError(text("progress.missing", path=str(path)))
    with _explain_os_errors("progress.not_readable", path=str(path)):
        records = _read(path)
    with _explain_os_errors(
        "progress.not_imported", path=str(path), folder=str(home())
    ):
        _add(records)


@contextmanager
def _explain_os_errors(key: str, **values: str) -> Iterator[None]:
    """Re-raise an `OSError` as an error of the same class with the message `key`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise type(error)(text(key, reason=reason, **values)) from error


@dataclass(frozen=True)
class Progress(Report):
    """The learner's progress in all exercises.

    Attributes:
        records: one dictionary per recorded outcome, oldest first.
    """

    records: tuple[dict, ...]

    @property
    def passed(self) -> list[str]:
        """The ids of the problems whose current version has been passed."""
        return [row["problem"] for row in self._rows() if row["status"] == "passed"]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per problem, including its status and points."""
        return pd.DataFrame(self._rows()).set_index("problem")

    def plot(self) -> "go.Figure":
        """Plot the points earned and remaining, with one bar per lesson (plotly)."""
        import plotly.graph_objects as go

        sums = (
            self.to_frame().groupby("lesson", sort=False)[["points", "possible"]].sum()
        )
        missing = sums["possible"] - sums["points"]
        bars = [
            go.Bar(y=sums.index, x=sums["points"], orientation="h", name="✓"),
            go.Bar(y=sums.index, x=missing, orientation="h", name="…"),
        ]
        return go.Figure(bars, {"barmode": "stack"})

    def why(self) -> str:
        rows = self._rows()
        points, possible = (sum(r[k] for r in rows) for k in ("points", "possible"))
        return text(
            "progress.summary",
            points=points,
            possible=possible,
            passed=len(self.passed),
            count=len(rows),
        )

    def __repr__(self) -> str:
        filled = round(20 * len(self.passed) / len(self._rows()))
        lines = [
            f"{row['mark']} {row['problem']}  ({row['title']})" for row in self._rows()
        ]
        bar = f"[{'█' * filled}{'·' * (20 - filled)}] {self.why()}"
        return "\n".join([bar, *lines])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        value, total = len(self.passed), len(self._rows())
        bar = f'<progress value="{value}" max="{total}" style="width:20em"></progress>'
        cells = "".join(
            f"<tr><td>{row['mark']}</td><td>{html.escape(row['title'])}</td>"
            f"<td><code>{row['problem']}</code></td>"
            f"<td>{row['points']} / {row['possible']}</td></tr>"
            for row in self._rows()
        )
        return f"{bar} {html.escape(self.why())}<table>{cells}</table>"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """Mark the output as personal in its metadata, so that it is not published."""
        return {}, {PERSONAL: True}

    def _rows(self) -> list[dict]:
        return [
            self._row(lesson.slug, problems.get(id))
            for lesson in lessons()
            for id in lesson.problems
        ]

    def _row(self, lesson: str, problem: Problem) -> dict:
        attempts = [
            r
            for r in self.records
            if (r["problem"], r["version"]) == (problem.id, problem.version)
        ]
        best = next(
            (r for r in attempts if r["status"] == "passed"),
            attempts[-1] if attempts else {},
        )
        status = best.get("status", "not attempted")
        marks = {"passed": "✓", "not attempted": "…"}
        return {
            "lesson": lesson,
            "problem": problem.id,
            "title": choose(problem.title),
            "status": status,
            "mark": marks.get(status, "✗"),
            "points": problem.points if status == "passed" else 0,
            "possible": problem.points,
            "time": best.get("time", ""),
        }


def _add(records: list[dict]) -> None:
    path = home() / "progress.json"
    with _file_lock(path):
        _write(path, _condense(_read(path) + records))


def _condense(records: list[dict]) -> list[dict]:
    """Keep the first pass and the latest other outcome for each problem and version.

    At most `MOST` records are kept. If there are more, records of unknown problems are
    dropped first, followed by failures.
    """
    latest: dict[tuple, dict] = {}
    for record in sorted(records, key=lambda r: r["time"]):
        key = (record["problem"], record["version"])
        if record["status"] == "passed":
            latest.setdefault((*key, "passed"), record)
        else:
            latest[key] = record
    known = set(problems.names())

    def priority(record: dict) -> tuple:
        passed = record["status"] == "passed"
        return record["problem"] in known, passed, record["time"]

    selection = sorted(latest.values(), key=priority)[-MOST:]
    return sorted(selection, key=lambda r: r["time"])


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
        if isinstance(version, int) and version > FORMAT:
            message = text("progress.newer", path=path, found=version, known=FORMAT)
            raise DamagedFileError(message)
        records = content["records"]
        valid = version == FORMAT and isinstance(records, list)
        valid = valid and all(_is_record(record) for record in records)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFileError(text("progress.not_a_file", path=str(path))) from error
    if not valid:
        raise DamagedFileError(text("progress.not_a_file", path=str(path)))
    return [{field: record.get(field) for field in FIELDS} for record in records]


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(field), kind) and len(str(record.get(field))) <= LONGEST
        for field, kind in FIELDS.items()
    )


def _write(path: Path, records: list[dict]) -> None:
    content = {"format": FORMAT, "records": records}
    if path.exists() and not path.stat().st_mode & 0o222:
        # Renaming would replace even a read-only file, which its owner meant to keep.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Lock the progress file so that parallel notebooks do not lose records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows outside WSL
        yield
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in path.parent.glob(f".{path.name}.*"):  # left by a killed kernel
            leftover.unlink(missing_ok=True)
        yield


def _once(sentence: str) -> str:
    """Return the sentence if it is new in this session, otherwise an empty string."""
    if sentence in _notes_shown:
        return ""
    _notes_shown.add(sentence)
    return sentence
