"""What checks say when an answer is not what was asked for.

`what` is always a piece of the learner's own code, such as `attend(x)`, so that it
needs no translation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .problem import Failed


class AnswerRaised(Exception):
    """The learner's code raised; the original is its `__cause__`."""


def call(answer: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the learner's code, so that what it raises is not taken for our own bug."""
    try:
        return answer(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise AnswerRaised from error


def function(answer: Any, what: str) -> None:
    """The answer can be called."""
    if not callable(answer):
        raise Failed("expect.function", what=what, got=type(answer).__name__)


def close(got: Any, want: Any, what: str, tolerance: float = 1e-5) -> None:
    """Same kind, same shape, same numbers up to `tolerance` of the largest of them."""
    if hasattr(want, "detach"):
        tensor(got, what)
    want = numbers(want, what)
    got = shape(got, want.shape, what)
    error = np.abs(got - want)
    if want.size and not error.max() <= tolerance * max(1.0, np.abs(want).max()):
        worst = np.unravel_index(
            np.nanargmax(np.nan_to_num(error, nan=np.inf)), got.shape
        )
        _differs(what, worst, float(got[worst]), float(want[worst]))


def numbers(got: Any, what: str) -> np.ndarray:
    """The answer as an array of numbers; a tensor may be of any dtype."""
    try:  # the answer may be any object, so its conversion may raise anything
        if hasattr(got, "detach"):
            return got.detach().cpu().double().numpy()
        if got is not None:  # which numpy would read as NaN
            return np.asarray(got, dtype=float)
    except Exception:
        pass
    raise Failed("expect.number", what=what, got=type(got).__name__)


def shape(got: Any, want: Sequence[int], what: str) -> np.ndarray:
    """The answer as numbers of the shape `want`, `()` for one number.

    What the numbers are does not matter: NaN and infinity pass, so that the check
    itself can say what is wrong with them.
    """
    got = numbers(got, what)
    if got.shape != tuple(want):
        shapes = {"got": list(got.shape), "want": list(want)}
        raise Failed("expect.shape", what=what, **shapes)
    return got


def tensor(got: Any, what: str) -> None:
    """The answer is a tensor (told without importing torch)."""
    if not hasattr(got, "detach"):
        raise Failed("expect.type", what=what, got=type(got).__name__, want="Tensor")


def parts(got: Any, count: int, what: str) -> tuple:
    """The answer as `count` values, as from `return a, b`."""
    try:
        values = iter(got)
    except TypeError:
        raise Failed(
            "expect.parts", what=what, got=type(got).__name__, count=count
        ) from None
    got = call(tuple, values)  # a generator runs the learner's code only here
    if len(got) != count:
        raise Failed("expect.count", what=what, got=len(got), count=count)
    return got


def _differs(what: str, where: tuple, got: float, want: float) -> None:
    if where:
        place = [int(i) for i in where]
        raise Failed("expect.element", what=what, where=place, got=got, want=want)
    raise Failed("expect.value", what=what, got=got, want=want)
