r"""PyTorch's own int4 product for CPUs, where no compiler can build ours.

`_weight_int4pack_mm_for_cpu` multiplies bfloat16 rows with 4-bit codes. A code of up to
4 bits is one such product. A longer one is the sum of two, from its high and low half:
:math:`s(16 h + l - z) = 16 s (h - 8) + s (l - 8) + s(136 - z)`. PyTorch keeps codes in
an order of its own, so the planes are copied when first used, 4 or 8 bits a code, for
each precision in use: this backend takes two to three times the memory that the C++ one
takes, and rounds activations to bfloat16.
"""

import weakref

import torch
from torch import Tensor

from ..packed import PackedMatrix, Part, pad_input
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


def representable(x: Tensor) -> Tensor:
    """The nearest rows in bfloat16."""
    return x.bfloat16().float()


def multiply(matrix: PackedMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    rows = pad_input(x, matrix).bfloat16()
    y = x.new_zeros(len(x), matrix.rows + 1)  # the last column takes padding rows
    for products, order in _prepared(matrix):
        for packed, table in products:
            part = _product(rows, packed, matrix.group_size, table)
            y.index_add_(1, order, part.float())
    y = y[:, : matrix.rows]
    return y.contiguous() if bias is None else y + bias.float()


def _product(x: Tensor, packed: Tensor, group_size: int, table: Tensor) -> Tensor:
    return torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, group_size, table)


def _table(groups: int, rows: int) -> Tensor:
    return torch.ones(groups, rows, 2, dtype=torch.bfloat16)


def _prepared(matrix: PackedMatrix) -> list:
    """The copies for the precision in use, made once until tensors move."""
    known = _copies.get(matrix)
    if known is None or known[0] != matrix.generation:
        known = _copies[matrix] = matrix.generation, {}
    precision = matrix.max_bits, matrix.refined
    if precision not in known[1]:
        known[1][precision] = [_copy(part, matrix) for part in matrix.parts()]
    return known[1][precision]


def _copy(part: Part, matrix: PackedMatrix) -> tuple[list, Tensor]:
    """The products that make up a part, and the output column of each row."""
    codes, used = 0, 0
    for plane, width in zip(part.planes, part.widths, strict=True):
        codes = (codes << width) | unpack(plane, width).int()
        used += width
    scale = part.scale.float() * part.step  # [K' / G, rows]
    if used <= 4:
        halves = [(codes, scale, (8 - part.zero) * scale)]
    else:
        low = 2 ** (used - 4)
        halves = [
            (codes // low, scale * low, torch.zeros_like(scale)),
            (codes % low, scale, (8 + 8 * low - part.zero) * scale),
        ]
    products = []
    for half, its_scale, offset in halves:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(half.int(), 1)
        table = torch.stack([its_scale, offset], 2).bfloat16()
        products.append((packed, table.contiguous()))
    order = part.order.long() % (matrix.rows + 1)
    return products, order
