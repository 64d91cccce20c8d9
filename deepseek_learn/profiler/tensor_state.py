"""Save the full state of a tensor and restore it bit for bit."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Undo = Callable[[], None]


class TensorState:
    """The state of a tensor: its gradient, storage, strides and bytes.

    The contents are saved as bytes, so that NaN compares equal to itself and an
    expanded tensor can be written back. The bytes of parameters are not saved, because
    this would double the memory of a large model. Instead, `BeforeWriting` backs up the
    parts that a pass actually overwrites.
    """

    def __init__(self, tensor: Tensor):
        self.tensor, self.leaf = tensor, tensor.is_leaf
        self.gradient = tensor.grad if self.leaf else None
        self.requires_grad = tensor.requires_grad
        self.alias = tensor.detach() if has_storage(tensor) else None
        self._bytes = None
        if not isinstance(tensor, nn.Parameter):
            window = bytes_of(self.alias)
            self._bytes = None if window is None else (window, window.clone())

    @property
    def is_copied(self) -> bool:
        return self._bytes is not None

    def put_back(self) -> str | None:
        """Restore the state of the tensor.

        Returns:
            A description of what could not be restored, or None.
        """
        tensor = self.tensor
        if self.alias is not None and not _same_view(tensor, self.alias):
            tensor.data = self.alias
        if self._bytes is not None and not torch.equal(*self._bytes):
            self._bytes[0].copy_(self._bytes[1])
        attached = self.leaf and not tensor.is_leaf  # by an in-place operation
        if attached and tensor._is_view():
            return "a view that became part of an autograd graph"
        if attached:
            tensor.detach_()
        if self.leaf and tensor.requires_grad != self.requires_grad:
            tensor.requires_grad_(self.requires_grad)
        return None

    def drop_gradient(self) -> None:
        if self.leaf and self.tensor.is_leaf and self.tensor.grad is not None:
            self.tensor.grad = None

    def put_gradient_back(self) -> None:
        if self.leaf and self.tensor.grad is not self.gradient:
            self.tensor.grad = self.gradient


def has_storage(tensor: Tensor) -> bool:
    """Return whether the tensor is backed by a single storage."""
    wraps = hasattr(tensor, "__tensor_flatten__")
    return tensor.layout is torch.strided and not tensor.is_nested and not wraps


def bytes_of(tensor: Tensor | None) -> Tensor | None:
    """Return the memory that `tensor` spans as a uint8 tensor, or None if it is empty.

    The result is a view of the storage. Meta tensors have no data and are treated as
    empty.
    """
    if tensor is None or not tensor.numel():
        return None
    storage = tensor.untyped_storage()
    if storage.device.type == "meta" or not storage.nbytes():
        return None
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    start = tensor.storage_offset() * tensor.element_size()
    window = torch.empty(0, dtype=torch.uint8, device=storage.device)
    return window.set_(storage, start, ((last + 1) * tensor.element_size(),), (1,))


def _same_view(one: Tensor, two: Tensor) -> bool:
    return (
        one.layout is two.layout
        and one.dtype is two.dtype
        and one.shape == two.shape
        and one.stride() == two.stride()
        and one.storage_offset() == two.storage_offset()
        and one.untyped_storage()._cdata == two.untyped_storage()._cdata
    )


def within(tensor: Tensor) -> list[Tensor]:
    """Return the storage-backed tensors that make up `tensor`, usually just itself."""
    if has_storage(tensor):
        return [tensor]
    return [inner for part in parts(tensor) for inner in within(part)]


def parts(tensor: Tensor) -> list[Tensor]:
    """Return the inner tensors of a sparse, nested or wrapper tensor.

    For any other tensor, the list is empty.
    """
    if hasattr(tensor, "__tensor_flatten__"):
        return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    if tensor.is_nested:
        return [tensor.values()]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return []
