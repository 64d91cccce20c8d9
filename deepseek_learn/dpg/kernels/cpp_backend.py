"""Our C++ kernel: int8 activations times packed planes, one call a layer."""

import ctypes
import weakref

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
    return {"level": LEVELS[load().dpg_level()]}


def multiply(
    matrix: PackedMatrix, x: Tensor, bias: Tensor | None, level: int | None = None
) -> Tensor:
    library, x = load(), x.contiguous()
    segments = _described(matrix)
    y = torch.empty(len(x), matrix.rows)
    if bias is not None:
        bias = bias.float().contiguous()
    size = library.dpg_scratch_bytes(len(x), matrix.padded, matrix.group_size)
    scratch = torch.empty(size, dtype=torch.uint8)
    failed = library.dpg_linear(
        x.data_ptr(),
        matrix.columns,
        len(x),
        matrix.columns,
        matrix.padded,
        matrix.group_size,
        segments,
        len(segments),
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        matrix.rows,
        scratch.data_ptr(),
        library.dpg_level() if level is None else level,
        torch.get_num_threads(),
    )
    if failed:
        raise AssertionError(f"dpg_linear refused its arguments with code {failed}")
    return y


def _described(matrix: PackedMatrix) -> ctypes.Array:
    """The matrix as the kernel's structs; they point into its tensors."""
    state = (matrix.generation, matrix.max_bits, matrix.refined)
    known = _descriptors.get(matrix)
    if known is None or known[0] != state:
        parts = matrix.parts()
        known = state, (Segment * len(parts))(*map(_segment, parts)), parts
        _descriptors[matrix] = known  # holds the tensors that it points into
    return known[1]


def _segment(part) -> Segment:
    planes = [plane.data_ptr() for plane in part.planes]
    segment = Segment()
    for i, (plane, width) in enumerate(zip(planes, part.widths, strict=True)):
        segment.planes[i], segment.widths[i] = plane, width
    segment.scale, segment.order = part.scale.data_ptr(), part.order.data_ptr()
    segment.rows, segment.accumulate = len(part.order), int(part.accumulate)
    segment.step, segment.zero = part.step, part.zero
    return segment
