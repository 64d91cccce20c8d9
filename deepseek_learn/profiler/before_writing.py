"""Back up tensor data just before a pass overwrites it."""

from typing import Any

import torch
from torch import Tensor

from .costs import tensors
from .dispatch import EveryOperator
from .tensor_state import bytes_of, has_storage


class BeforeWriting(EveryOperator):
    """A dispatch mode that backs up the bytes that operators are about to overwrite.

    Tensors that are created inside the block or share storage with a tensor in `copied`
    are skipped. Parameters that no pass changes are never copied, but even tensors that
    are referenced only by a global variable in some package are covered. An operator
    must declare in its schema which arguments it modifies, as PyTorch's own operators
    do.
    """

    def __init__(self, copied: list[Tensor]):
        super().__init__()
        self._skip = _storages(copied)
        self._created: set[int] = set()
        self._saved: list[tuple[Tensor, Tensor]] = []

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        inputs = tensors((args, kwargs))
        schema = getattr(func, "_schema", None)
        if schema and schema.is_mutable:
            for tensor in tensors(_written(schema, args, kwargs)):
                self._back_up(tensor)
        out = func(*args, **kwargs)
        existing = _storages(inputs) - self._created
        self._created |= _storages(tensors(out)) - existing
        return out

    def put_back(self) -> None:
        """Restore the saved bytes in reverse order, because copies can overlap."""
        for window, saved in reversed(self._saved):
            if not torch.equal(window, saved):
                window.copy_(saved)

    def _back_up(self, tensor: Tensor) -> None:
        storage = _storages([tensor]) - self._created - self._skip
        if storage and (window := bytes_of(tensor)) is not None:
            self._saved.append((window, window.clone()))


def _written(schema: Any, args: tuple, kwargs: dict) -> list:
    """Return the arguments that the operator modifies according to its schema."""
    named = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
    return [
        named.get(argument.name)
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _storages(some: list[Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in some if has_storage(tensor)}
