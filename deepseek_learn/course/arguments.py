"""Copy, compare and format the arguments that a check passes to an answer."""

import inspect
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = 80
SHOWN.maxlist = SHOWN.maxtuple = SHOWN.maxdict = 12
FULL = 16  # arrays with more entries than this are abbreviated


@dataclass(frozen=True)
class MayChange:
    """A wrapper for an argument that the answer is expected to modify.

    An example is the state of an optimizer.
    """

    value: Any


@dataclass(frozen=True)
class Call:
    """A call to the learner's answer.

    Attributes:
        values: the arguments by parameter name.
        copies: copies of the arguments, made before the call.
    """

    values: dict[str, Any]
    copies: dict[str, Any]

    @classmethod
    def of(cls, answer: Callable, args: tuple, kwargs: dict[str, Any]) -> "Call":
        values = named(answer, args, kwargs)
        return cls(values, {name: copied(value) for name, value in values.items()})

    def changed(self) -> str | None:
        """Return the name of the first argument that has been modified, or None."""
        for name, value in self.values.items():
            if not isinstance(value, MayChange) and not same(value, self.copies[name]):
                return name
        return None

    def __str__(self) -> str:
        pairs = self.copies.items()
        return ", ".join(f"{name} = {shown(value)}" for name, value in pairs)


def named(answer: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by parameter name.

    If they do not match the signature, or if there is no signature, the positional
    arguments are numbered from 1.
    """
    try:
        signature = inspect.signature(getattr(answer, "forward", answer))
        return dict(signature.bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # wrong arguments, or a callable with no signature
        return {str(position): value for position, value in enumerate(args, 1)} | kwargs


def copied(value: Any) -> Any:
    """Copy tensors, arrays and containers recursively; return other objects as is."""
    if isinstance(value, MayChange):
        return copied(value.value)
    if isinstance(value, tuple):
        return tuple(copied(each) for each in value)
    if isinstance(value, (list, set)):
        return [copied(each) for each in value]
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if is_tensor(value):
        return value if value.is_meta else value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def same(value: Any, copy: Any) -> bool:
    """Return whether `value` still equals its copy; NaNs are considered equal.

    The answer may have put any object in its place, so the kinds are compared first:
    `==` is only called on a value of the same type as the check's own.
    """
    if isinstance(value, (list, tuple, set)):
        return (
            isinstance(copy, (list, tuple, set))
            and len(value) == len(copy)
            and all(same(a, b) for a, b in zip(value, copy, strict=False))
        )
    if isinstance(value, dict):
        return isinstance(copy, dict) and same(
            [each for item in value.items() for each in item],
            [each for item in copy.items() for each in item],
        )
    if is_tensor(value):
        return is_tensor(copy) and value.dtype == copy.dtype and same_bits(value, copy)
    if isinstance(value, np.ndarray):
        return (
            isinstance(copy, np.ndarray)
            and (value.dtype, value.shape) == (copy.dtype, copy.shape)
            and value.tobytes() == copy.tobytes()
        )
    return value is copy or (type(value) is type(copy) and bool(value == copy))


def same_bits(tensor: Any, copy: Any) -> bool:
    """Return whether two tensors are bitwise equal, so that NaNs also compare equal.

    Only the shapes of sparse and meta tensors are compared.
    """
    import torch

    if tensor.shape != copy.shape or tensor.is_sparse or tensor.is_meta:
        return tensor.shape == copy.shape
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = sizes.get(tensor.element_size(), tensor.dtype)
    return torch.equal(
        tensor.detach().contiguous().view(bits), copy.contiguous().view(bits)
    )


def shown(value: Any) -> str:
    """Format a value on one line, abbreviating large tensors and arrays."""
    if is_tensor(value):
        dtype = str(value.dtype).removeprefix("torch.")
        if value.is_meta or value.is_sparse:
            return f"tensor({dtype}, shape {list(value.shape)})"
        array = (value.float() if dtype == "bfloat16" else value).detach().numpy()
        return f"tensor({numbers(array)}, {dtype}{size(value.shape)})"
    if isinstance(value, np.ndarray):
        return f"array({numbers(value)}, {value.dtype}{size(value.shape)})"
    if isinstance(value, (list, tuple)) and any(map(holds_numbers, value)):
        return f"[{', '.join(each_shown(value))}]"
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    if type(value).__repr__ is object.__repr__:
        return f"<{type(value).__name__}>"
    return " ".join(SHOWN.repr(value).split())


def each_shown(values: Sequence) -> Iterator[str]:
    yield from (shown(value) for value in values[:3])
    if len(values) > 3:
        yield f"... ({len(values)})"


def numbers(array: np.ndarray) -> str:
    printed = np.array2string(
        array, precision=6, threshold=FULL, edgeitems=2, separator=", "
    )
    return " ".join(printed.split())


def size(shape: tuple[int, ...]) -> str:
    """Return the shape as text, or "" if `numbers` prints the array in full."""
    return f", shape {list(shape)}" if np.prod(shape) > FULL else ""


def holds_numbers(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


def is_tensor(value: Any) -> bool:
    """Return whether `value` is a tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "untyped_storage")
