"""Assertions for checks, which raise the messages that learners see.

The argument `what` is always an expression in the learner's code, such as `attend(x)`,
and therefore does not need to be translated.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .arguments import Call, MayChange
from .clock import answering
from .limits import GaveUp
from .problem import Failed

MOST_PARTS = 1000  # maximum number of values to read, as a generator may be infinite
_last: list[Call] = []  # the last call with arguments, shown when a check fails


class AnswerRaised(Exception):
    """Raised when the learner's code fails; the original exception is its cause."""


def call(answer: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the learner's code and turn its exceptions into `AnswerRaised`.

    This distinguishes errors in the answer from bugs in the check. The answer must not
    modify arguments that hold data (tensors, arrays, lists, dictionaries). Wrap an
    argument in `may_change` if the answer is expected to modify it.

    Raises:
        AnswerRaised: if the answer raises any exception, even `SystemExit`; the
            original exception is the cause.
        Failed: if the answer modifies an argument in place; the message names the
            argument.
    """
    record = Call.of(answer, args, kwargs)
    if record.values:
        _last[:] = [record]
    plain = [a.value if isinstance(a, MayChange) else a for a in args]
    try:
        with answering():
            result = answer(*plain, **kwargs)
    except (Failed, GaveUp):  # from a function that the check passed in, or a timeout
        raise
    except BaseException as error:
        raise AnswerRaised from error
    if name := record.changed():
        raise Failed("expect.in_place", argument=name)
    # a subclass of `str` may equal every text
    return str.__str__(result) if isinstance(result, str) else result


def may_change(value: Any) -> MayChange:
    """Mark an argument of `call` that the answer is expected to modify."""
    return MayChange(value)


def last_input() -> str:
    """Return the arguments of the last call on one line, and then discard them."""
    return str(_last.pop()) if _last else ""


def function(answer: Any, what: str) -> None:
    """Require the answer to be callable."""
    if not callable(answer):
        raise Failed("expect.function", what=what, got=type(answer).__name__)


def close(got: Any, want: Any, what: str, tolerance: float = 1e-5) -> None:
    """Require the expected type and shape, and values within the tolerance.

    The absolute error may be at most `tolerance * max(1, abs(want).max())`.
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
    """Return the answer as a float64 array; tensors of any real dtype are accepted."""
    try:  # the answer may be any object, so converting it may raise anything
        if hasattr(got, "detach") and not got.is_complex():
            return got.detach().cpu().double().numpy()
        # NumPy would convert None to NaN
        if got is not None and not np.iscomplexobj(got) and not _is_text(got):
            # copy it, because torch does not support negative strides (x[::-1])
            return np.array(got, dtype=float, order="C")
    except Exception:
        pass
    raise Failed("expect.number", what=what, got=type(got).__name__)


def _is_text(got: Any) -> bool:
    """Whether it is text, which NumPy would convert, or holds some."""
    array = np.asarray(got)
    if array.dtype == object:
        return any(isinstance(each, str | bytes) for each in array.flat)
    return array.dtype.kind in "SU"


def shape(got: Any, want: Sequence[int], what: str) -> np.ndarray:
    """Return the answer as an array of shape `want` (`()` for a single number).

    The values are not checked. NaN and infinity are allowed, so that the check can
    report them with a specific message.
    """
    got = numbers(got, what)
    if got.shape != tuple(want):
        shapes = {"got": list(got.shape), "want": list(want)}
        raise Failed("expect.shape", what=what, **shapes)
    return got


def tensor(got: Any, what: str, dtype: Any = None) -> None:
    """Require a tensor, optionally of the given dtype, without importing torch."""
    if not hasattr(got, "detach"):
        raise Failed("expect.type", what=what, got=type(got).__name__, want="Tensor")
    if dtype not in (None, got.dtype):
        raise Failed("expect.dtype", what=what, got=str(got.dtype), want=str(dtype))


def boolean(got: Any, what: str) -> bool:
    """Return the answer as a bool; only `bool` and NumPy booleans are accepted."""
    if not isinstance(got, (bool, np.bool_)):
        raise Failed("expect.type", what=what, got=type(got).__name__, want="bool")
    return bool(got)


def integer(got: Any, what: str) -> int:
    """Return the answer as an int; Python, NumPy and PyTorch integers are accepted.

    A float is rejected even if it has no fractional part, and so is a boolean.
    """
    value = shape(got, (), what)
    dtype = str(getattr(got, "dtype", type(got).__name__)).removeprefix("torch.")
    if "int" not in dtype:
        raise Failed("expect.type", what=what, got=dtype, want="int")
    return int(got) if isinstance(got, int) else int(value)


def parts(got: Any, count: int, what: str) -> tuple:
    """Return the answer as a tuple of `count` values, as in `return a, b`."""
    try:
        values = iter(got)
    except TypeError:
        raise Failed(
            "expect.parts", what=what, got=type(got).__name__, count=count
        ) from None
    got = call(lambda: tuple(islice(values, MOST_PARTS)))  # this may run a generator
    if len(got) != count:
        raise Failed("expect.count", what=what, got=len(got), count=count)
    return got


def _differs(what: str, where: tuple, got: float, want: float) -> None:
    if where:
        place = [int(i) for i in where]
        raise Failed("expect.element", what=what, where=place, got=got, want=want)
    raise Failed("expect.value", what=what, got=got, want=want)
