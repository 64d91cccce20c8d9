"""A backend based on PyTorch's int4 product, for CPUs without the C++ kernel.

It is used if the C++ kernel cannot be built. `_weight_int4pack_mm_for_cpu` multiplies
bfloat16 rows by 4-bit codes. A code of up to 4 bits requires one such product. A longer
code requires two, one for its high half and one for its low half: :math:`s(16 h + l -
z) = 16 s (h - 8) + s (l - 8) + s(136 - z)`. PyTorch stores codes in its own layout, so
the planes are copied on first use for each precision, with 4 or 8 bits per code. As a
result, this backend needs two to three times as much memory as the C++ backend.
Activations are rounded to bfloat16.
"""

import weakref

import torch
from torch import Tensor

from ..matrix import pad_columns
from ..packed import PackedMatrix, Part
from ..planes import unpack

_copies: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def problem() -> str:
    try:
        codes = torch.full((16, 32), 8, dtype=torch.int32)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        _product(torch.ones(1, 32, dtype=torch.bfloat16), packed, 32, _table(1, 16))
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return ""


def facts() -> dict:
    return {}


def representable(x: Tensor, group_size: int) -> Tensor:
    """Round the rows to the nearest bfloat16 values."""
    return x.bfloat16().float()


def multiply(matrix: PackedMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    rows = pad_columns(x, matrix.group_size).bfloat16()
    y = x.new_zeros(len(x), matrix.rows + 1)  # the last column collects padding rows
    for products, order in _cached_products(matrix):
        for packed, table in products:
            part = _product(rows, packed, matrix.group_size, table)
            y.index_add_(1, order, part.float())
    y = y[:, : matrix.rows]
    return y.contiguous() if bias is None else y + bias.float()


def _product(x: Tensor, packed: Tensor, group_size: int, table: Tensor) -> Tensor:
    return torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, group_size, table)


def _table(groups: int, rows: int) -> Tensor:
    return torch.ones(groups, rows, 2, dtype=torch.bfloat16)


def _cached_products(matrix: PackedMatrix) -> list:
    """Return the copies for the current precision.

    They are cached until the tensors move.
    """
    generation, cache = _copies.get(matrix, (None, None))
    if generation != matrix.generation:
        cache = {}
        _copies[matrix] = matrix.generation, cache
    precision = matrix.max_bits, matrix.refined
    if precision not in cache:
        cache[precision] = [_copy(part, matrix) for part in matrix.parts()]
    return cache[precision]


def _copy(part: Part, matrix: PackedMatrix) -> tuple[list, Tensor]:
    """Return the products that add up to a part, and the output column for each row."""
    codes, bits = torch.zeros((), dtype=torch.int32), 0
    for plane, width in zip(part.planes, part.widths, strict=True):
        codes = (codes << width) | unpack(plane, width).int()
        bits += width
    scale = part.scale.float() * part.step  # [K' / G, rows]
    if bits <= 4:
        halves = [(codes, scale, (8 - part.zero) * scale)]
    else:
        low = 2 ** (bits - 4)
        halves = [
            (codes // low, scale * low, torch.zeros_like(scale)),
            (codes % low, scale, (8 + 8 * low - part.zero) * scale),
        ]
    products = []
    for half, half_scale, offset in halves:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(half.int(), 1)
        table = torch.stack([half_scale, offset], 2).bfloat16()  # [K' / G, rows, 2]
        products.append((packed, table.contiguous()))
    order = part.order.long() % (matrix.rows + 1)
    return products, order
