"""Matrices stored as packed bit-planes, the weight format of compressed layers.

Rows are sorted by bit width. Rows with the same bit width form a *segment*, which is
padded to a multiple of 16 rows. The `base` term holds the codes at their allocated bit
widths. An optional `refine` term holds the rounding error of the base term, rounded to
4 bits with its own scales. The base term alone provides a calibrated low precision, and
both terms together provide a precision of about 8 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codes import Codes
from .matrix import ROWS
from .planes import WIDTHS, join, split, step_and_zero, used_widths
from .rounding import quantize

REFINE_BITS = 4
ROWS_AT_ONCE = 1024  # to unpack; a multiple of ROWS


@dataclass(frozen=True)
class Segment:
    """A range of rows with the same number of bits in one term.

    Segments are recorded in the manifest of a saved model.

    Attributes:
        term: "base" or "refine".
        bits: the number of bits per code.
        first: the index of the first stored row.
        rows: the number of rows, a multiple of 16.
    """

    term: str
    bits: int
    first: int
    rows: int


@dataclass(frozen=True)
class Part:
    """The tensors that a kernel needs from a segment at the current precision.

    Attributes:
        planes: the planes in use, each of shape `[rows / 16, K' / (4 P), 64]`.
        widths: the number of bits of each plane in use.
        scale: the scales, a bfloat16 tensor of shape `[K' / G, rows]`.
        order: the output index of each stored row, an int32 tensor of shape `[rows]`.
            Padding rows have index -1.
        step, zero: the parameters of the formula value = step * (code - zero) * scale.
        accumulate: whether to add to the output instead of overwriting it.
        first: the index of the first stored row.
    """

    planes: tuple[Tensor, ...]
    widths: tuple[int, ...]
    scale: Tensor
    order: Tensor
    step: float
    zero: float
    accumulate: bool
    first: int

    def chunks(self) -> Iterator["Part"]:
        """Yield the part in pieces of a few rows each, which share its tensors.

        In a graph that is being traced, it is one piece.
        """
        rows = len(self.order)
        size = rows if torch.compiler.is_compiling() else ROWS_AT_ONCE
        for start in range(0, rows, size):
            end = start + size
            blocks = slice(start // ROWS, end // ROWS)
            yield replace(
                self,
                planes=tuple(plane[blocks] for plane in self.planes),
                scale=self.scale[:, start:end],
                order=self.order[start:end],
                first=self.first + start,
            )


class PackedMatrix(nn.Module):
    """A matrix of shape `[N, K]` that is stored as bit-planes.

    Use `pack_matrix` to create one from codes. The constructor creates an empty matrix
    for `load` to fill in.

    Attributes:
        max_bits: the maximum number of bits to read per code. The remaining planes are
            skipped. At 8, all planes are read.
        refined: whether to add the refine term, if there is one.
        wide: whether to use about 16 bits instead of 8 for activations. This affects
            only kernels that round activations, which then multiply twice.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> weight = torch.randn(32, 64)
    >>> matrix = dpg.pack_matrix(dpg.quantize(weight, bits=4), weight)
    >>> matrix.rows, matrix.columns, dpg.bytes_of(matrix) < weight.nbytes / 4
    (32, 64, True)
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

    def tensors_of(
        self, segment: Segment
    ) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
        """Yield the name, shape and dtype of each tensor in a segment."""
        prefix, blocks = f"{segment.term}{segment.bits}", segment.rows // ROWS
        for i, width in enumerate(WIDTHS[segment.bits]):
            shape = (blocks, self.padded * width // 32, 64)
            yield f"{prefix}_plane{i}", shape, torch.uint8
        # The bfloat16 scales are stored as int16 to prevent `model.half()` from
        # converting them.
        groups = self.padded // self.group_size
        yield f"{prefix}_scale", (groups, segment.rows), torch.int16

    def scale_of(self, segment: Segment) -> Tensor:
        """Return the bfloat16 scales of a segment, of shape `[K' / G, rows]`."""
        return getattr(self, f"{segment.term}{segment.bits}_scale").view(torch.bfloat16)

    @property
    def has_refinement(self) -> bool:
        return any(segment.term == "refine" for segment in self.segments)

    def parts(self) -> list[Part]:
        """Return the segments at the current precision, with the base terms first."""
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

    def codes(self) -> Codes:
        """Return all bits of the base term's codes, as `pack_matrix` took them."""
        codes = torch.zeros(self.rows, self.padded, dtype=torch.uint8)
        scale = torch.zeros(
            self.padded // self.group_size, self.rows, dtype=torch.bfloat16
        )
        bits = torch.zeros(self.rows, dtype=torch.int64)
        for segment in self.segments:
            if segment.term == "base":
                order = self.order[segment.first : segment.first + segment.rows].cpu()
                rows = (order >= 0).nonzero()[:, 0]  # without padding
                to = order[rows].long()
                widths = WIDTHS[segment.bits]
                names = (f"base{segment.bits}_plane{i}" for i in range(len(widths)))
                planes = [getattr(self, name) for name in names]
                codes[to] = join(planes, widths).cpu()[rows]
                scale[:, to] = self.scale_of(segment).cpu()[:, rows]
                bits[to] = segment.bits
        return Codes(codes, scale, bits, self.columns)

    def lookup(self, index: Tensor) -> Tensor:
        """Look up rows at the current precision.

        The index is an int64 tensor of shape `[...]`, and the result is a float32
        tensor of shape `[..., K]`. Only the requested rows are unpacked.
        """
        stored = self.stored_rows()[index.flatten()]  # [n]
        values = self.order.new_zeros(len(stored), self.padded, dtype=torch.float32)
        for part in self.parts():
            mask = (stored >= part.first) & (stored < part.first + len(part.order))
            rows = stored[mask] - part.first  # within the segment
            # added, because a row has a base part and may have a refine part
            values[mask] += part_values(part, self.group_size, rows)
        return values[:, : self.columns].view(*index.shape, self.columns)

    def stored_rows(self) -> Tensor:
        """Return the stored index of each row, an int64 tensor of shape `[N]`.

        The result is cached until the tensors are moved or reloaded.
        """
        if self._inverse is None or self._inverse[0] != self.generation:
            rows = torch.arange(len(self.order), device=self.order.device)
            mask = self.order >= 0  # False for padding rows
            inverse = rows.new_empty(self.rows)
            inverse[self.order[mask].long()] = rows[mask]
            self._inverse = self.generation, inverse
        return self._inverse[1]

    def dequantize(self) -> Tensor:
        """Return the float32 matrix at the current precision, of shape `[N, K]`."""
        # One row more than the matrix has, into which the padding rows go.
        shape, device = (self.rows + 1, self.padded), self.order.device
        matrix = torch.zeros(shape, dtype=torch.float32, device=device)
        for rows, values in self.pieces():
            matrix.index_add_(0, rows, values)
        return matrix[: self.rows, : self.columns]  # drop the padding row

    def pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield some rows' indices `[r]` and their terms `[r, K']`, which are to be added.

        Padding rows have the index N. A piece fits in the CPU cache, so that little is
        allocated besides.
        """
        for piece in chain.from_iterable(part.chunks() for part in self.parts()):
            # % turns the index -1 of padding rows into N
            rows = piece.order.long() % (self.rows + 1)
            yield rows, part_values(piece, self.group_size)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.generation += 1  # the tensors move, which invalidates cached pointers
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.generation += 1
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        terms = ", ".join(f"{s.rows} x {s.term}{s.bits}" for s in self.segments)
        return f"[{self.rows}, {self.columns}], G={self.group_size}: {terms}"


def part_values(part: Part, group_size: int, rows: Tensor | None = None) -> Tensor:
    """Return the weights of a part, a float32 tensor of shape `[rows, K']`.

    If `rows` is given, only those rows are returned.
    """
    codes = join(part.planes, part.widths, rows)
    scale = part.scale if rows is None else part.scale[:, rows]
    groups = codes.float().unflatten(1, (-1, group_size))  # [rows, K' / G, G]
    values = (groups - part.zero) * (scale.float() * part.step).T[:, :, None]
    return values.flatten(1)


def pack_matrix(
    codes: Codes,
    weight: Tensor,
    refine: bool = False,
    second_moment: Tensor | None = None,
) -> PackedMatrix:
    """Pack rounded rows into planes, with an optional refine term.

    The refine term stores the difference between `weight`, of shape `[N, K]`, and the
    rounded base term. It therefore also undoes the changes that GPTQ made to compensate
    for rounding errors in other columns. The refine term is rounded with GPTQ if the
    second moment of the inputs is given, as a matrix of shape `[K, K]`, and to nearest
    otherwise.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> weight = torch.randn(32, 64)
    >>> matrix = dpg.pack_matrix(dpg.quantize(weight, bits=4), weight)
    >>> type(matrix).__name__
    'PackedMatrix'
    """
    rows = len(codes.bits)
    # 1. Sort the rows by bit width, so that each segment has one layout.
    order, base = _sorted_rows(codes.bits)
    terms = [(codes, base)]
    # 2. Round what the base term leaves over. Its 4 bits are the same for all rows, so
    # that one segment holds them all, in the order of the base rows.
    if refine:
        residual = weight.float() - codes.dequantize()
        correction = quantize(residual, REFINE_BITS, codes.group_size, second_moment)
        terms.append((correction, (Segment("refine", REFINE_BITS, 0, len(order)),)))
    # 3. Allocate the planes of all segments, and fill them.
    segments = tuple(segment for _, group in terms for segment in group)
    matrix = PackedMatrix(rows, codes.columns, codes.group_size, segments)
    matrix.order.copy_(order)
    for term_codes, term_segments in terms:
        for segment in term_segments:
            _fill(matrix, segment, term_codes)
    return matrix


def _sorted_rows(bits: Tensor) -> tuple[Tensor, tuple[Segment, ...]]:
    """Return the order in which rows are stored, and the segments that they form.

    Rows with the most bits come first. Padding rows have index -1.
    """
    order, segments, first = [], [], 0
    for b in sorted(set(bits.tolist()), reverse=True):
        rows = (bits == b).nonzero()[:, 0]
        padded = F.pad(rows, (0, -len(rows) % ROWS), value=-1)  # to whole registers
        segments.append(Segment("base", b, first, len(padded)))
        order.append(padded)
        first += len(padded)
    return torch.cat(order).int(), tuple(segments)


def _fill(matrix: PackedMatrix, segment: Segment, codes: Codes) -> None:
    order = matrix.order[segment.first : segment.first + segment.rows].long()  # [rows]
    rows = codes.codes[order].clone()  # [rows, K']
    scale = codes.scale[:, order].clone()  # [K' / G, rows]
    # The index -1 has copied the last row: store the code and the scale of zero instead.
    padding = order < 0
    rows[padding], scale[:, padding] = 2 ** (segment.bits - 1), 0
    prefix = f"{segment.term}{segment.bits}"
    for i, plane in enumerate(split(rows, segment.bits)):
        getattr(matrix, f"{prefix}_plane{i}").copy_(plane)
    getattr(matrix, f"{prefix}_scale").copy_(scale.view(torch.int16))
