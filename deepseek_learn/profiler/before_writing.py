"""Keeps what a pass writes over, of tensors that nobody copied beforehand."""

import torch
from torch import Tensor

from .costs import tensors
from .dispatch import EveryOperator
from .tensor_state import bytes_of, has_storage


class BeforeWriting(EveryOperator):
    """While entered, copies the bytes that an operator is about to write over.

    Left out are tensors that were made inside, and those whose storages are `copied`.
    So a parameter that no pass changes is never copied, and a tensor that only a global
    of some package holds is brought back all the same. An operator must declare what it
    writes, as PyTorch's do.
    """

    def __init__(self, copied: list[Tensor]):
        super().__init__()
        self._skip = {_storage(tensor) for tensor in copied}
        self._made: set[int] = set()
        self._saved: list[tuple[Tensor, Tensor]] = []

    def run(self, func, args, kwargs):
        given = tensors((args, kwargs))
        schema = getattr(func, "_schema", None)
        if schema and schema.is_mutable:
            for tensor in tensors(_written(schema, args, kwargs)):
                self._keep(tensor)
        out = func(*args, **kwargs)
        old = {_storage(tensor) for tensor in given} - self._made
        self._made |= {_storage(tensor) for tensor in tensors(out)} - old
        return out

    def put_back(self) -> None:
        """The last first, since an earlier copy may be part of a later one."""
        for window, saved in reversed(self._saved):
            if not torch.equal(window, saved):
                window.copy_(saved)

    def _keep(self, tensor: Tensor) -> None:
        key = _storage(tensor)
        if key is None or key in self._made or key in self._skip:
            return
        if (window := bytes_of(tensor)) is not None:
            self._saved.append((window, window.clone()))


def _written(schema, args: tuple, kwargs: dict) -> list:
    """The arguments that the operator says it writes to."""
    named = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
    return [
        named.get(argument.name)
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _storage(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if has_storage(tensor) else None
