"""The C++ backend, which multiplies int8 activations by packed planes.

Each layer takes a single kernel call.
"""

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache
from math import inf

import torch
from torch import Tensor

from ..matrix import pad_columns
from ..packed import PackedMatrix, Part
from .build import KernelUnavailable, SegmentStruct, load

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


def representable(x: Tensor, group_size: int) -> Tensor:
    """Round to the nearest values that 8-bit activations can represent exactly.

    Each group of `group_size` channels in a row of `x` has its own step.
    """
    groups = pad_columns(x, group_size).unflatten(1, (-1, group_size))
    step = groups.abs().amax(2, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) / 127
    return ((groups / step).round() * step).flatten(1)[:, : x.shape[1]]


def multiply(
    matrix: PackedMatrix, x: Tensor, bias: Tensor | None, level: int | None = None
) -> Tensor:
    library, x, M = load(), x.contiguous(), len(x)
    segments, count = _segments(matrix)
    y = x.new_empty(M, matrix.rows)
    bias = None if bias is None else bias.float()
    size = _scratch_bytes(M, matrix.padded, matrix.group_size)
    scratch = x.new_empty(size, dtype=torch.uint8)
    error_code = library.dpg_linear(
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
    if error_code:
        raise AssertionError(f"dpg_linear rejected its arguments: error {error_code}")
    return y


def grouped(
    x: Tensor, counts: Tensor, weight: Tensor, level: int | None = None
) -> Tensor:
    """Multiply tokens sorted by expert by the float32 matrices of the experts.

    Args:
        x: the tokens, a tensor of shape `[n, K]`.
        counts: the number of tokens of each expert, of shape `[E]`.
        weight: the matrices, of shape `[E, N, K]`.
        level: the instructions to use, at most `best_level()`, which is the default.

    Returns:
        A tensor of shape `[n, N]`.
    """
    x, weight = x.contiguous(), weight.detach().contiguous()
    experts, rows, columns = weight.shape
    y = x.new_empty(len(x), rows)
    starts = _starts(counts)
    addresses = (x.data_ptr(), starts.data_ptr(), experts, weight.data_ptr())
    level, threads = best_level() if level is None else level, torch.get_num_threads()
    load().grouped_float(*addresses, rows, columns, y.data_ptr(), level, threads)
    return y


def grouped_packed(
    x: Tensor, counts: Tensor, matrices: Sequence[PackedMatrix]
) -> Tensor:
    """The same as `grouped` with packed matrices, all of one size and group size."""
    x, first, library = x.contiguous(), matrices[0], load()
    y = x.new_empty(len(x), first.rows)
    starts, threads = _starts(counts), torch.get_num_threads()
    described = [_segments(matrix) for matrix in matrices]
    pointers = (ctypes.c_void_p * len(matrices))(
        *(ctypes.addressof(segments) for segments, _ in described)
    )
    lengths = (ctypes.c_int64 * len(matrices))(*(count for _, count in described))
    most = int(counts.max())
    size = (_scratch_bytes(most, first.padded, first.group_size) + 63) // 64 * 64
    scratch = x.new_empty(size * threads, dtype=torch.uint8)
    error_code = library.grouped_packed(
        *(x.data_ptr(), starts.data_ptr(), len(matrices), pointers, lengths),
        *(first.columns, first.padded, first.group_size, y.data_ptr(), first.rows),
        *(scratch.data_ptr(), size, best_level(), threads),
    )
    if error_code:
        raise AssertionError(f"dpg_linear rejected its arguments: error {error_code}")
    return y


def _starts(counts: Tensor) -> Tensor:
    """Return the index of each expert's first token, and the number of all tokens."""
    starts = torch.zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=starts[1:])
    return starts


def count_active(
    x: Tensor, sizes: tuple[int, int, int], y: Tensor | None = None, upper: float = inf
) -> Tensor:
    """Count the values above zero for each neuron with the C++ kernel.

    Args:
        x: a float32 tensor with the layout `sizes`, `[outer, neurons, inner]`.
        y: if given, a tensor of the same layout that max(0, min(x, upper)) is written
            to. It may be `x`.

    Returns:
        The counts, an int64 tensor of shape `[neurons]`.
    """
    counts = x.new_zeros(sizes[1], dtype=torch.int64)
    target = None if y is None else y.data_ptr()
    load().dpg_count_active(x.data_ptr(), *sizes, counts.data_ptr(), target, upper)
    return counts


@cache
def best_level() -> int:
    """Return the best supported instruction set, as an index into `LEVELS`."""
    return load().dpg_level()


@cache
def _scratch_bytes(M: int, padded: int, group_size: int) -> int:
    return load().dpg_scratch_bytes(M, padded, group_size)


def _segments(matrix: PackedMatrix) -> tuple[ctypes.Array, int]:
    """Return the array of C structs that describe `matrix`, and its length.

    The structs point to the tensors of the matrix. They are needed for every layer and
    every token, and a cascade alternates between two precisions, so they are cached for
    each precision until the tensors move.
    """
    generation, cache = _descriptors.get(matrix, (None, None))
    if generation != matrix.generation:
        cache = {}
        _descriptors[matrix] = matrix.generation, cache
    precision = matrix.max_bits, matrix.refined
    if precision not in cache:
        parts = matrix.parts()
        segments = (SegmentStruct * len(parts))(*map(segment_of, parts))
        # Cache the parts as well, because the structs point to their tensors.
        cache[precision] = (segments, len(parts)), parts
    return cache[precision][0]


def segment_of(part: Part) -> SegmentStruct:
    """Return the C struct that describes a part, whose tensors must stay alive."""
    planes = [plane.data_ptr() for plane in part.planes]
    segment = SegmentStruct()
    for i, (plane, width) in enumerate(zip(planes, part.widths, strict=True)):
        segment.planes[i], segment.widths[i] = plane, width
    segment.scale, segment.order = part.scale.data_ptr(), part.order.data_ptr()
    segment.rows, segment.accumulate = len(part.order), int(part.accumulate)
    segment.step, segment.zero = part.step, part.zero
    return segment
