"""Memory with huge pages, for what a token reads from front to back.

With pages of 4 KiB, the processor looks up an address every 4 KiB and its prefetcher
stops at each boundary. Pages of 2 MiB have few boundaries. Linux gives them to large
blocks that ask for them (`madvise`); the planes of one layer and the cache of one layer
are too small on their own.

A block is mapped by itself instead of being allocated on the heap, so the system gets its
memory back as soon as its last tensor is deleted.
"""

import mmap
from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from .packed import PackedMatrix

HUGE = 2 << 20  # bytes of a huge page
HAS_HUGE_PAGES = hasattr(mmap, "MADV_HUGEPAGE")  # Linux
BLOCK = 16 * HUGE
LINE = 64
WORTH_IT = 4 * HUGE  # smaller models stay in the processor's cache anyway


def gather(model: nn.Module) -> None:
    """Move the packed matrices of `model` into one block, in the order of its modules.

    Their values do not change. Nothing happens where the system has no huge pages to
    give, if the matrices take less than 8 MiB, or for a matrix that is not on the CPU
    or has a refine term, which may be mapped from a file.
    """
    matrices = {id(matrix): matrix for matrix in _movable(model)}
    tensors = [
        (matrix, name, tensor)
        for matrix in matrices.values()
        for name, tensor in matrix.named_buffers(recurse=False)
    ]
    size = sum(_room(tensor) for _, _, tensor in tensors)
    if size < WORTH_IT or not HAS_HUGE_PAGES:
        return
    places = one_block([tensor for _, _, tensor in tensors])
    for (matrix, name, tensor), place in zip(tensors, places, strict=True):
        setattr(matrix, name, place.copy_(tensor))
    for matrix in matrices.values():
        matrix.generation += 1  # cached pointers are invalid


def one_block(like: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors of these shapes and dtypes, without values, in one block."""
    size = max(sum(map(_room, like)), 1)
    is_large = size >= WORTH_IT and HAS_HUGE_PAGES
    block = _huge_block(size) if is_large else _mapped_block(size)
    tensors, start = [], 0
    for each in like:
        part = block[start : start + each.nbytes].view(each.dtype)
        tensors.append(part.view(each.shape))
        start += _room(each)
    return tensors


class Pool:
    """A supply of zeroed tensors that lie in large blocks.

    Memory is used as it is written, 2 MiB at a time.
    """

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)

    def zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros."""
        if not HAS_HUGE_PAGES:
            return torch.zeros(shape, dtype=dtype)
        size = prod(shape) * dtype.itemsize
        if size > len(self._block):
            self._block = _huge_block(max(size, BLOCK))
        tensor, rest = self._block[:size], -(-size // LINE) * LINE
        self._block = self._block[rest:]
        return tensor.view(dtype).view(shape)


def _movable(model: nn.Module) -> Iterator[PackedMatrix]:
    packed = (m for m in model.modules() if isinstance(m, PackedMatrix))
    for matrix in packed:
        if not matrix.has_refinement and matrix.order.device.type == "cpu":
            yield matrix


def _room(tensor: Tensor) -> int:
    return -(-tensor.nbytes // LINE) * LINE


def _mapped_block(size: int) -> Tensor:
    return torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8)


def _huge_block(size: int) -> Tensor:
    """Return a block of bytes that starts at a huge page."""
    # shared memory, the default, would get small pages
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    whole = mmap.mmap(-1, size + HUGE, flags)
    whole.madvise(mmap.MADV_HUGEPAGE)
    block = torch.frombuffer(whole, dtype=torch.uint8)
    return block[-block.data_ptr() % HUGE :]
