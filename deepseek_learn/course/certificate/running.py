"""Run projects and graded answers in a sandbox, and score them outside of it."""

import json
import secrets

import numpy as np

from ...errors import DeepSeekLearnError
from ...sandbox import SandboxError, call
from .. import problems
from ..isolated import answer_sandbox, check_outside, hidden
from .refusal import Refused
from .tasks import Draw

SECONDS = 300  # of one run of a project


def run_project(files: dict[str, bytes], draw: Draw, training_seed: int) -> list[int]:
    """Run a project once and return its predictions for `draw.test_x`.

    Args:
        files: the files of `projects/NAME`, by their names.
        training_seed: the seed that is passed to `predict`. It must not be the seed of
            the draw, from which the project could compute `test_y`.

    Raises:
        Refused: if it raises an exception, takes too long, or does not return one class
            per test item.
    """
    code = {name: files[name] for name in files if name != "data.npz"}
    with answer_sandbox(code, SECONDS, hidden()) as (sandbox, entry):
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
    """Check a graded answer, which runs in a sandbox; its check runs outside.

    Args:
        seconds: the time limit for all calls, unless the problem sets its own.

    Returns:
        An empty string if the answer is correct, otherwise the reason.
    """
    problem = problems.get(id)
    cells = [source.decode("utf-8", "replace")]
    try:
        status, why = check_outside(problem, cells, seed, problem.seconds or seconds)
    except SandboxError:
        raise
    except Exception as error:  # a check may stumble over what an answer returns
        return f"{type(error).__name__}: {error}"
    return "" if status == "passed" else why or status


def fresh_seed() -> int:
    """Return a seed for a draw, of 63 bits to make a brute-force search infeasible."""
    return secrets.randbits(63)


def fresh_training_seed() -> int:
    """Return a seed of 31 bits, which every library accepts."""
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
