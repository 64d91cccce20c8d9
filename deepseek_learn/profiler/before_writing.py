"""Back up what a pass overwrites in tensors that were not copied beforehand."""

from typing import Any

import torch
from torch import Tensor

from .costs import tensors
from .dispatch import EveryOperator
from .tensor_state import bytes_of, has_storage


class BeforeWriting(EveryOperator):
    """Copies, while active, the bytes that an operator is about to overwrite.

    Tensors created inside the block, and those whose storage is in `copied`, are skipped.
    So a parameter that no pass changes is never copied, and a tensor held only by a
    global of some package is restored as well. An operator must declare what it writes,
    as PyTorch's own operators do.
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
        """Restore the copies, latest first, because one may overlap an earlier one."""
        for window, saved in reversed(self._saved):
            if not torch.equal(window, saved):
                window.copy_(saved)

    def _back_up(self, tensor: Tensor) -> None:
        key = _storage(tensor)
        if key is None or key in self._created or key in self._skip:
            return
        if (window := bytes_of(tensor)) is not None:
            self._saved.append((window, window.clone()))


def _written(schema: Any, args: tuple, kwargs: dict) -> list:
    """Return the arguments that the operator's schema marks as written."""
    named = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
    return [
        named.get(argument.name)
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _storages(some: list[Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in some if has_storage(tensor)}


def _storage(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if has_storage(tensor) else None
