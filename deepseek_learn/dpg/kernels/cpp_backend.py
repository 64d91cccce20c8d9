"""Our C++ kernel: int8 activations times packed planes, one call a layer."""

import ctypes
import weakref
from functools import cache

import torch
from torch import Tensor

from ..packed import PackedMatrix
from .build import KernelUnavailable, Segment, load

LEVELS = ("portable C++", "AVX2", "AVX512-VNNI", "AMX")
_descriptors: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def problem() -> str:
    try:
        load()
    except KernelUnavailable as error:
        return str(error)
    return ""


def facts() -> dict:
    return {"level": LEVELS[best_level()]}


def representable(x: Tensor) -> Tensor:
    """The nearest rows that the kernel's 8-bit activations hold exactly."""
    step = x.abs().amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) / 127
    return (x / step).round() * step


def multiply(
    matrix: PackedMatrix, x: Tensor, bias: Tensor | None, level: int | None = None
) -> Tensor:
    library, x, M = load(), x.contiguous(), len(x)
    segments, count = _described(matrix)
    y = x.new_empty(M, matrix.rows)
    bias = None if bias is None else bias.float()
    size = _scratch_bytes(M, matrix.padded, matrix.group_size)
    scratch = x.new_empty(size, dtype=torch.uint8)
    failed = library.dpg_linear(
        x.data_ptr(),
        matrix.columns,
        M,
        matrix.columns,
        matrix.padded,
        matrix.group_size,
        segments,
        count,
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        matrix.rows,
        scratch.data_ptr(),
        best_level() if level is None else level,
        torch.get_num_threads(),
    )
    if failed:
        raise AssertionError(f"dpg_linear refused its arguments with code {failed}")
    return y


def count_active(y: Tensor, outer: int, neurons: int, inner: int) -> Tensor:
    """At how many places float32 `y [outer, neurons, inner]` is above zero, `[neurons]`."""
    counts = y.new_zeros(neurons, dtype=torch.int32)
    sizes = outer, neurons, inner
    load().dpg_count_active(y.data_ptr(), *sizes, counts.data_ptr())
    return counts


@cache
def best_level() -> int:
    """The best instructions that this processor has, an index into `LEVELS`."""
    return load().dpg_level()


@cache
def _scratch_bytes(M: int, padded: int, group_size: int) -> int:
    return load().dpg_scratch_bytes(M, padded, group_size)


def _described(matrix: PackedMatrix) -> tuple[ctypes.Array, int]:
    """The matrix as the kernel's structs, and their number; they point into its tensors.

    One token asks for it in every layer, and a cascade goes to and fro between two
    precisions: it is made once for each precision, until tensors move.
    """
    known = _descriptors.get(matrix)
    if known is None or known[0] != matrix.generation:
        known = _descriptors[matrix] = matrix.generation, {}
    precision = matrix.max_bits, matrix.refined
    if precision not in known[1]:
        parts = matrix.parts()
        segments = (Segment * len(parts))(*map(_segment, parts))
        # the parts are kept: the structs point into their tensors
        known[1][precision] = (segments, len(parts)), parts
    return known[1][precision][0]


def _segment(part) -> Segment:
    planes = [plane.data_ptr() for plane in part.planes]
    segment = Segment()
    for i, (plane, width) in enumerate(zip(planes, part.widths, strict=True)):
        segment.planes[i], segment.widths[i] = plane, width
    segment.scale, segment.order = part.scale.data_ptr(), part.order.data_ptr()
    segment.rows, segment.accumulate = len(part.order), int(part.accumulate)
    segment.step, segment.zero = part.step, part.zero
    return segment
