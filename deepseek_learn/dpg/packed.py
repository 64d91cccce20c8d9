"""A matrix stored as packed planes, which a compressed layer has instead of a weight.

Rows are sorted by bits into *segments* of equal bits, each padded to blocks of 16 rows.
The `base` term holds the codes with the allocated bits. An optional `refine` term holds
the rounding error of the base, rounded to 4 bits with its own scales. The base alone
gives a calibrated low precision; both terms together have about 8 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codes import Codes
from .matrix import ROWS, pad_columns
from .planes import WIDTHS, split, step_and_zero, unpack, used_widths
from .rounding import quantize

REFINE_BITS = 4


@dataclass(frozen=True)
class Segment:
    """Rows of equal bits in one term, as recorded in a saved model's manifest.

    Attributes:
        term: "base" or "refine".
        bits: bits of each code.
        first: index of its first stored row.
        rows: number of rows, a multiple of 16.
    """

    term: str
    bits: int
    first: int
    rows: int


@dataclass(frozen=True)
class Part:
    """A segment at the precision in use: the tensors that a kernel multiplies with.

    Attributes:
        planes: the planes in use, `[rows / 16, K' / (4 P), 64]` each.
        widths: bits of each plane in use.
        scale: the scales, bfloat16 `[K' / G, rows]`.
        order: the output index of each stored row, int32 `[rows]`; -1 for padding.
        step, zero: defined by value = step * (code - zero) * scale.
        accumulate: whether to add to the output instead of setting it.
        first: index of its first stored row.
    """

    planes: tuple[Tensor, ...]
    widths: tuple[int, ...]
    scale: Tensor
    order: Tensor
    step: float
    zero: float
    accumulate: bool
    first: int


class PackedMatrix(nn.Module):
    """A matrix `[N, K]` stored as planes.

    Create one with `pack_matrix`, or create an empty one for `load` to fill.

    Attributes:
        max_bits: planes beyond this number of bits per code are not read; at 8, all of
            them are.
        refined: whether the refine term is added, if there is one.
        wide: whether activations have about 16 bits instead of 8, for kernels that
            round them; such a kernel then multiplies twice.
    """

    order: Tensor

    def __init__(
        self, rows: int, columns: int, group_size: int, segments: tuple[Segment, ...]
    ):
        super().__init__()
        self.rows, self.columns, self.group_size = rows, columns, group_size
        self.padded = ceil(columns / group_size) * group_size
        self.segments = segments
        self.max_bits, self.refined, self.wide, self.generation = 8, True, False, 0
        self._inverse: tuple[int, Tensor] | None = None
        for segment in segments:
            for name, shape, dtype in self.tensors_of(segment):
                self.register_buffer(name, torch.empty(shape, dtype=dtype))
        stored = sum(s.rows for s in segments if s.term == "base")
        self.register_buffer("order", torch.empty(stored, dtype=torch.int32))

    def tensors_of(self, segment: Segment) -> Iterator[tuple[str, tuple, torch.dtype]]:
        """Yield the name, shape and dtype of each tensor of a segment."""
        prefix, blocks = f"{segment.term}{segment.bits}", segment.rows // ROWS
        for i, width in enumerate(WIDTHS[segment.bits]):
            shape = (blocks, self.padded * width // 32, 64)
            yield f"{prefix}_plane{i}", shape, torch.uint8
        # bfloat16 scales stored as int16, so that `model.half()` does not round them
        groups = self.padded // self.group_size
        yield f"{prefix}_scale", (groups, segment.rows), torch.int16

    def scale_of(self, segment: Segment) -> Tensor:
        """Return the scales of a segment, bfloat16 `[K' / G, rows]`."""
        return getattr(self, f"{segment.term}{segment.bits}_scale").view(torch.bfloat16)

    @property
    def has_refinement(self) -> bool:
        return any(segment.term == "refine" for segment in self.segments)

    def parts(self) -> list[Part]:
        """Return the segments at the precision in use, base terms first."""
        parts = []
        for segment in self.segments:
            refine = segment.term == "refine"
            if refine and not self.refined:
                continue
            limit = REFINE_BITS if refine else self.max_bits
            widths = used_widths(segment.bits, limit)
            prefix = f"{segment.term}{segment.bits}_plane"
            planes = tuple(getattr(self, f"{prefix}{i}") for i in range(len(widths)))
            order = self.order[segment.first : segment.first + segment.rows]
            step, zero = step_and_zero(segment.bits, sum(widths))
            scale, first = self.scale_of(segment), segment.first
            parts.append(Part(planes, widths, scale, order, step, zero, refine, first))
        return parts

    def lookup(self, index: Tensor) -> Tensor:
        """Look up rows at the precision in use: int64 `[...]` → float32 `[..., K]`.

        Only these rows are unpacked.
        """
        stored = self._stored_rows()[index.flatten()]
        values = self.order.new_zeros(len(stored), self.padded, dtype=torch.float32)
        for part in self.parts():
            mask = (stored >= part.first) & (stored < part.first + len(part.order))
            rows = stored[mask] - part.first
            values[mask] += part_values(part, self.group_size, rows)
        return values[:, : self.columns].view(*index.shape, self.columns)

    def _stored_rows(self) -> Tensor:
        """Return each row's stored index, int64 `[N]`, cached until tensors move."""
        if self._inverse is None or self._inverse[0] != self.generation:
            rows = torch.arange(len(self.order), device=self.order.device)
            mask = self.order >= 0  # False for padding rows
            inverse = rows.new_empty(self.rows)
            inverse[self.order[mask].long()] = rows[mask]
            self._inverse = self.generation, inverse
        return self._inverse[1]

    def dequantize(self) -> Tensor:
        """Return the matrix at the precision in use, float32 `[N, K]`."""
        shape, device = (self.rows + 1, self.padded), self.order.device
        matrix = torch.zeros(shape, dtype=torch.float32, device=device)
        for part in self.parts():
            values = part_values(part, self.group_size)
            matrix.index_add_(0, part.order.long() % (self.rows + 1), values)
        return matrix[: self.rows, : self.columns]  # drop the row that took the padding

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.generation += 1  # tensors move: kernels must drop their cached pointers
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.generation += 1
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        terms = ", ".join(f"{s.rows} x {s.term}{s.bits}" for s in self.segments)
        return f"[{self.rows}, {self.columns}], G={self.group_size}: {terms}"


def part_values(part: Part, group_size: int, rows: Tensor | None = None) -> Tensor:
    """Return the weights of a part, float32 `[rows, K']`, or only those of `rows`."""
    codes = torch.zeros((), dtype=torch.uint8, device=part.order.device)
    for plane, width in zip(part.planes, part.widths, strict=True):
        codes = (codes << width) | unpack(plane, width, rows)
    scale = part.scale if rows is None else part.scale[:, rows]
    groups = codes.float().unflatten(1, (-1, group_size))
    values = (groups - part.zero) * (scale.float() * part.step).T[:, :, None]
    return values.flatten(1)


def pack_matrix(
    codes: Codes,
    weight: Tensor,
    refine: bool = False,
    second_moment: Tensor | None = None,
) -> PackedMatrix:
    """Pack rounded rows; if `refine`, also pack their error against `weight` `[N, K]`.

    The refine term is the difference from the rounded base, so it also undoes what
    calibrated rounding moved from one column to another. It is itself rounded to
    nearest, or by GPTQ if the inputs' `second_moment` `[K, K]` is given.
    """
    rows = len(codes.bits)
    order, base = _sorted_rows(codes.bits)
    terms = [(codes, base)]
    if refine:
        residual = weight.float() - codes.dequantize()
        correction = quantize(residual, REFINE_BITS, codes.group_size, second_moment)
        terms.append((correction, (Segment("refine", REFINE_BITS, 0, len(order)),)))
    segments = tuple(segment for _, group in terms for segment in group)
    matrix = PackedMatrix(rows, codes.columns, codes.group_size, segments)
    matrix.order.copy_(order)
    for term_codes, term_segments in terms:
        for segment in term_segments:
            _fill(matrix, segment, term_codes)
    return matrix


def _sorted_rows(bits: Tensor) -> tuple[Tensor, tuple[Segment, ...]]:
    """Return the rows' stored order (most bits first, -1 for padding) and segments."""
    order, segments, first = [], [], 0
    for b in sorted(set(bits.tolist()), reverse=True):
        rows = (bits == b).nonzero()[:, 0]
        padded = F.pad(rows, (0, -len(rows) % ROWS), value=-1)
        segments.append(Segment("base", b, first, len(padded)))
        order.append(padded)
        first += len(padded)
    return torch.cat(order).int(), tuple(segments)


def _fill(matrix: PackedMatrix, segment: Segment, codes: Codes) -> None:
    order = matrix.order[segment.first : segment.first + segment.rows].long()
    rows = codes.codes[order].clone()
    scale = codes.scale[:, order].clone()
    padding = order < 0
    rows[padding], scale[:, padding] = 2 ** (segment.bits - 1), 0
    prefix = f"{segment.term}{segment.bits}"
    for i, plane in enumerate(split(rows, segment.bits)):
        getattr(matrix, f"{prefix}_plane{i}").copy_(plane)
    getattr(matrix, f"{prefix}_scale").copy_(scale.view(torch.int16))


def pad_input(x: Tensor, matrix: PackedMatrix) -> Tensor:
    """Pad rows `[M, K]` with zeros to `[M, K']`."""
    return pad_columns(x, matrix.group_size)
