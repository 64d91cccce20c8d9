"""Assertions for checks, with the messages a learner sees when an answer is wrong.

`what` is always an expression in the learner's code, such as `attend(x)`, so it needs
no translation.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .arguments import Call, MayChange
from .limits import GaveUp
from .problem import Failed

MOST_PARTS = 1000  # values read from an answer; a generator may be infinite
_last: list[Call] = []  # the last call with arguments, for a failed check's message


class AnswerRaised(Exception):
    """The learner's code raised; the original is its `__cause__`."""


def call(answer: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the learner's code, so that its exceptions are not mistaken for our own bugs.

    Arguments that hold data (tensors, arrays, lists, dictionaries) must be unchanged
    afterwards; pass one that the answer is meant to modify as `may_change(value)`.

    Raises:
        AnswerRaised: if the answer raises anything, even `SystemExit`; that exception
            is the cause.
        Failed: if the answer modifies an argument in place; the message names it.
    """
    record = Call.of(answer, args, kwargs)
    if record.values:
        _last[:] = [record]
    plain = [a.value if isinstance(a, MayChange) else a for a in args]
    try:
        result = answer(*plain, **kwargs)
    except (Failed, GaveUp):  # raised by a function the check passed in, or a timeout
        raise
    except BaseException as error:
        raise AnswerRaised from error
    if name := record.changed():
        raise Failed("expect.in_place", argument=name)
    return result


def may_change(value: Any) -> MayChange:
    """Mark an argument of `call` that the answer is meant to modify."""
    return MayChange(value)


def last_input() -> str:
    """Return the arguments of the last call in one line, and forget them."""
    return str(_last.pop()) if _last else ""


def function(answer: Any, what: str) -> None:
    """Require that the answer is callable."""
    if not callable(answer):
        raise Failed("expect.function", what=what, got=type(answer).__name__)


def close(got: Any, want: Any, what: str, tolerance: float = 1e-5) -> None:
    """Require the same type, the same shape, and nearly the same numbers.

    They may differ by `tolerance` times the largest magnitude in `want`, or times 1 if
    that is larger.
    """
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
    """Return the answer as an array of numbers; a tensor may have any real dtype."""
    try:  # the answer may be any object, so converting it may raise anything
        if hasattr(got, "detach") and not got.is_complex():
            return got.detach().cpu().double().numpy()
        # NumPy would convert None to NaN
        if got is not None and not np.iscomplexobj(got):
            # a copy, since torch rejects negative strides, such as those of x[::-1]
            return np.array(got, dtype=float, order="C")
    except Exception:
        pass
    raise Failed("expect.number", what=what, got=type(got).__name__)


def shape(got: Any, want: Sequence[int], what: str) -> np.ndarray:
    """Return the answer as numbers of shape `want`, which is `()` for a single number.

    The values are not checked: NaN and infinity pass, so that the check itself can say
    what is wrong with them.
    """
    got = numbers(got, what)
    if got.shape != tuple(want):
        shapes = {"got": list(got.shape), "want": list(want)}
        raise Failed("expect.shape", what=what, **shapes)
    return got


def tensor(got: Any, what: str, dtype: Any = None) -> None:
    """Require a tensor, of `dtype` if given, without importing torch."""
    if not hasattr(got, "detach"):
        raise Failed("expect.type", what=what, got=type(got).__name__, want="Tensor")
    if dtype not in (None, got.dtype):
        raise Failed("expect.dtype", what=what, got=str(got.dtype), want=str(dtype))


def boolean(got: Any, what: str) -> bool:
    """Return the answer as a bool; accept NumPy's bool, but no tensor and no number."""
    if not isinstance(got, (bool, np.bool_)):
        raise Failed("expect.type", what=what, got=type(got).__name__, want="bool")
    return bool(got)


def integer(got: Any, what: str) -> int:
    """Return the answer as an int; accept an int, or a single NumPy or PyTorch integer.

    A float is rejected, even if it has no fractional part; so are True and False.
    """
    value = shape(got, (), what)
    dtype = str(getattr(got, "dtype", type(got).__name__)).removeprefix("torch.")
    if "int" not in dtype:
        raise Failed("expect.type", what=what, got=dtype, want="int")
    return int(got) if isinstance(got, int) else int(value)


def parts(got: Any, count: int, what: str) -> tuple:
    """Return the answer as a tuple of `count` values, as from `return a, b`."""
    try:
        values = iter(got)
    except TypeError:
        raise Failed(
            "expect.parts", what=what, got=type(got).__name__, count=count
        ) from None
    got = call(lambda: tuple(islice(values, MOST_PARTS)))  # a generator runs here
    if len(got) != count:
        raise Failed("expect.count", what=what, got=len(got), count=count)
    return got


def _differs(what: str, where: tuple, got: float, want: float) -> None:
    if where:
        place = [int(i) for i in where]
        raise Failed("expect.element", what=what, where=place, got=got, want=want)
    raise Failed("expect.value", what=what, got=got, want=want)
