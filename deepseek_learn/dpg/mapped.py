"""Keep experts on disk, and only the recently used ones in memory.

Only a few of a model's experts are active at a time, so the others do not need to be in
memory. A file holds the two matrices of each expert as packed planes. All experts have
the same layout, and each one is aligned to the page size of the machine that wrote the
file. The file is memory-mapped. The pages of an expert are read when a token is first
routed to it. They are released when the expert is the least recently used one and
another expert has to be loaded.

Lesson: `notebooks/practical/09_train_a_small_deepseek.ipynb`.
"""

import json
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import DamagedFileError
from ..files import atomic_write
from .kernels import multiply
from .packed import PackedMatrix, Segment, pack_matrix
from .rounding import quantize

MAGIC, PAGE = b"deepseek_learn.experts 1\n", mmap.PAGESIZE


def write_experts(
    path: str | Path,
    experts: Iterable[tuple[Tensor, Tensor]],
    bits: int = 4,
    group_size: int = 64,
) -> Path:
    """Quantize experts one at a time and write them to a file atomically.

    Args:
        experts: one pair of matrices per expert. The first matrix stacks the gate and
            up projections as `[2 f, d]`, and the second one is the down projection
            `[d, f]`. All experts must be the same size.

    Raises:
        ValueError: if the experts differ in size, or if there are no experts.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> experts = ((torch.randn(128, 64), torch.randn(64, 64)) for _ in range(4))
    >>> path = dpg.write_experts("experts.dpg", experts, bits=4)
    >>> path.stat().st_size < 4 * 4 * (128 * 64 + 64 * 64) / 4
    True
    """
    path, facts, count = Path(path), None, 0
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(b"\0" * PAGE)  # reserved for the header
        for gate_up, down in experts:
            matrices = [
                pack_matrix(quantize(weight, bits, group_size), weight)
                for weight in (gate_up, down)
            ]
            expert_facts = [_facts(matrix) for matrix in matrices]
            if facts not in (None, expert_facts):
                raise ValueError(
                    f"experts must all have the same sizes; number {count} differs."
                )
            facts, count = expert_facts, count + 1
            for matrix in matrices:
                for tensor in matrix.state_dict().values():
                    file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())
            file.write(b"\0" * (-file.tell() % PAGE))
        if facts is None:
            raise ValueError("experts must contain at least one expert; got none.")
        header = {"count": count, "page": PAGE, "matrices": facts}
        file.seek(0)
        file.write(MAGIC + json.dumps(header).encode() + b"\n")
    return path


def _facts(matrix: PackedMatrix) -> list:
    segments = [[s.term, s.bits, s.first, s.rows] for s in matrix.segments]
    return [matrix.rows, matrix.columns, matrix.group_size, segments]


class MappedExperts(nn.Module):
    """A layer of experts that are read from a file on demand.

    The inputs are tokens of shape `[N, d]` and the experts chosen for them, as indices
    and weights of shape `[N, k]`. The output has shape `[N, d]`. The layer is called in
    the same way as `Experts` in `lm`.

    Args:
        path: a file written by `write_experts`.
        resident: the number of experts to keep in memory. These are the ones that were
            used most recently.
        cold: whether to also ask the operating system to drop released pages from its
            page cache. The system does this on its own when memory is low, so this
            option is useful only for measurements.

    Attributes:
        used: how many times an expert was used, in total.
        read: how many of those times the expert had to be read from the file first.

    Raises:
        FileNotFoundError: if the file does not exist.
        DamagedFileError: if the file is truncated or is not an expert file.
        ValueError: if `resident` is less than 1, or if the system does not support
            `cold`.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> experts = [(torch.randn(128, 64), torch.randn(64, 64)) for _ in range(4)]
    >>> path = dpg.write_experts("experts.dpg", experts, bits=4)
    >>> layer = dpg.MappedExperts(path, resident=2)  # at most two in memory
    >>> chosen = torch.tensor([[0, 3]])
    >>> layer(torch.rand(1, 64), chosen, torch.tensor([[0.5, 0.5]])).shape
    torch.Size([1, 64])
    """

    def __init__(self, path: str | Path, resident: int, cold: bool = False):
        super().__init__()
        if resident < 1:
            raise ValueError(f"resident must be at least 1; got {resident}.")
        if cold and not hasattr(os, "posix_fadvise"):
            raise ValueError(
                "cold must be False on this system, which has no posix_fadvise."
            )
        self.path, self.resident, self.cold = Path(path), resident, cold
        self.used = self.read = 0
        self._file = self.path.open("rb")
        self.count, self._page, self._layout = _header(self._file, self.path)
        self._bytes = sum(size for _, matrix in self._layout for *_, size in matrix)
        self._bytes += -self._bytes % self._page
        size = os.fstat(self._file.fileno()).st_size
        if size < self._page + self.count * self._bytes:
            raise DamagedFileError(f"{path} is truncated: some experts are missing.")
        self._area = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._cache: OrderedDict[int, list[PackedMatrix]] = OrderedDict()

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        result, rows = torch.zeros_like(x), x.float()
        # one expert at a time, with all of its tokens: it may have to be read from disk
        for index in chosen.unique().tolist():
            if not 0 <= index < self.count:
                raise ValueError(
                    f"chosen must be from 0 to {self.count - 1}; got {index}."
                )
            token, slot = (chosen == index).nonzero(as_tuple=True)  # [n], [n] of k
            gate_up, down = self.expert(index)
            gate, up = multiply(gate_up, rows[token], None).chunk(2, -1)  # [n, f] each
            output = multiply(down, F.silu(gate) * up, None)  # [n, d]
            result.index_add_(0, token, (output * weights[token, slot, None]).to(x))
        return result

    def expert(self, index: int) -> list[PackedMatrix]:
        """Return the two matrices of an expert, mapping them first if necessary."""
        self.used += 1
        # 1. A resident expert becomes the most recently used one.
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        # 2. Otherwise, release the least recently used ones before another is read, so
        # that there are never more than `resident`.
        while len(self._cache) >= self.resident:
            self._release(self._cache.popitem(last=False)[0])
        # 3. Lay tensors over the mapped file; nothing is read until they are used.
        self.read += 1
        offset, matrices = self._page + index * self._bytes, []
        for (rows, columns, group_size, segments), tensors in self._layout:
            with torch.device("meta"):
                matrix = PackedMatrix(rows, columns, group_size, segments)
            for name, shape, dtype, size in tensors:
                count = size // dtype.itemsize
                part = torch.frombuffer(
                    self._area, dtype=dtype, count=count, offset=offset
                )
                setattr(matrix, name, part.view(shape))
                offset += size
            matrices.append(matrix)
        self._cache[index] = matrices
        return matrices

    def _release(self, index: int) -> None:
        offset = self._page + index * self._bytes
        self._area.madvise(mmap.MADV_DONTNEED, offset, self._bytes)
        if self.cold:  # the system's page cache would otherwise still hold the pages
            advice = os.POSIX_FADV_DONTNEED
            os.posix_fadvise(self._file.fileno(), offset, self._bytes, advice)

    def extra_repr(self) -> str:
        size = f"{self.count} experts of {self._bytes / 2**20:.2f} MiB"
        return f"{size} in {self.path.name}, {self.resident} in memory"


def _header(file: BinaryIO, path: Path) -> tuple[int, int, list]:
    """Read the number of experts, the page size and the matrix layout from a file."""
    first_page, layout = file.read(PAGE), []
    try:
        magic, facts = first_page[: len(MAGIC)], first_page[len(MAGIC) :]
        facts = facts.split(b"\n", 1)[0]
        facts = json.loads(facts if magic == MAGIC else "")
        count, page = facts["count"], facts["page"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is not a file of experts.") from error
    if page % PAGE:
        raise DamagedFileError(
            f"{path} has pages of {page} bytes, but this machine uses {PAGE}; write "
            f"the file again on this machine."
        )
    for rows, columns, group_size, segments in facts["matrices"]:
        segments = tuple(Segment(*segment) for segment in segments)
        with torch.device("meta"):
            matrix = PackedMatrix(rows, columns, group_size, segments)
        tensors = [
            (name, list(tensor.shape), tensor.dtype, tensor.nbytes)
            for name, tensor in matrix.state_dict().items()
        ]
        layout.append(((rows, columns, group_size, segments), tensors))
    return count, page, layout
