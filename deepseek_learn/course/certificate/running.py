"""Run a learner's project, or a graded answer, in a sandbox, and judge it outside."""

import json
import secrets

import numpy as np

from ...errors import DeepSeekLearnError
from ...sandbox import Session, call
from .. import problems
from ..expect import AnswerRaised
from ..isolated import hidden, proxy, room
from ..problem import Failed
from .refusal import Refused
from .tasks import Draw

SECONDS = 300  # of one run of a project


def run_project(files: dict[str, bytes], draw: Draw, training_seed: int) -> list[int]:
    """Run a project once and return its predictions for `draw.test_x`.

    Args:
        files: the files of `projects/NAME`, by their names.
        training_seed: what `predict` gets as its seed. It must not be the one that
            drew the data, with which the project could draw `test_y` as well.

    Raises:
        Refused: if it raises, takes too long, or returns anything other than one class
            for each test.
    """
    code = {name: files[name] for name in files if name != "data.npz"}
    with room(code, SECONDS, hidden()) as (sandbox, entry):
        try:
            inputs = draw.x, draw.y, draw.test_x, training_seed
            labels = call(entry, "predict", *inputs, sandbox=sandbox)
        except DeepSeekLearnError as error:
            raise Refused("project_failed", error=error) from error
    classes = set(map(int, np.unique(draw.y)))
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not whole or len(labels) != len(draw.test_y) or not set(labels) <= classes:
        raise Refused("predictions", count=len(draw.test_y), classes=sorted(classes))
    return labels


def run_graded(id: str, source: bytes, seed: int, seconds: float = 120) -> str:
    """Check a graded answer; the answer runs in a sandbox, its check does not.

    Args:
        seconds: the time for all calls of the answer, unless the problem has its own.

    Returns:
        An empty string if the answer is right, otherwise why it is not.
    """
    problem = problems.get(id)
    code = {"cells.json": json.dumps([source.decode("utf-8", "replace")]).encode()}
    with (
        room(code, problem.seconds or seconds, hidden()) as (sandbox, entry),
        Session.open(entry, sandbox) as session,
    ):
        try:
            problem.check(proxy(session, problem), np.random.default_rng(seed))
        except Failed as failed:
            return f"Failed: {failed.key}"
        except AnswerRaised as raised:
            return str(raised.__cause__)
        except Exception as error:  # a check may stumble over what an answer returns
            return f"{type(error).__name__}: {error}"
    return ""


def fresh_seed() -> int:
    """Return a seed for a draw: too large to be found by trying all of them."""
    return secrets.randbits(63)


def fresh_training_seed() -> int:
    """Return a seed that every library accepts."""
    return secrets.randbits(31)


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
