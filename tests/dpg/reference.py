"""The float64 product with packed planes, and each backend's error bound."""

import torch
from torch import Tensor

from deepseek_learn.dpg import PackedMatrix, pack_matrix, quantize
from deepseek_learn.dpg.codes import BITS
from deepseek_learn.dpg.matrix import pad_columns

FLOAT32, FLOAT16, BFLOAT16 = 2.0**-24, 2.0**-11, 2.0**-8  # unit roundoff


def packed(
    rows: int = 37,
    columns: int = 70,
    bits: int | None = None,
    group_size: int = 32,
    refine: bool = False,
    seed: int = 0,
) -> tuple[PackedMatrix, Tensor]:
    """A packed random matrix, and the matrix itself; `bits=None`: all bit widths."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    weight *= torch.rand(rows, 1, generator=generator) + 0.1
    given = bits or torch.tensor(BITS)[torch.arange(rows) % len(BITS)]
    return pack_matrix(quantize(weight, given, group_size), weight, refine), weight


def inputs(rows: int, columns: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator)


def product(matrix: PackedMatrix, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """`[M, K]` x `[N, K]` → float64 `[M, N]`."""
    y = x.double() @ matrix.dequantize().double().T
    return y if bias is None else y + bias.double()


def bound(name: str, matrix: PackedMatrix, x: Tensor, bias=None) -> Tensor:
    """The largest error that backend `name` may make, float64 `[M, N]`."""
    x = x.double().abs()
    size = x @ _magnitude(matrix).T  # at least sum |x| |w|
    if bias is not None:
        size = size + bias.double().abs()
    # float32 sums of K terms in any order, and two more roundings per term
    error = (matrix.padded + 8) * FLOAT32 * size
    if name == "int4":
        # x, the table's scale and offset, the unpacked weight, the result: bfloat16
        error = error + 4 * BFLOAT16 * size
    if name == "cpp":  # activations in steps of max |x| / 127 in each group
        groups = [pad_columns(t, matrix.group_size) for t in (x, matrix.dequantize())]
        x, w = (t.double().abs().unflatten(1, (-1, matrix.group_size)) for t in groups)
        error = error + x.amax(2) / 127 / 2 @ w.sum(2).T
    return error


def _magnitude(matrix: PackedMatrix) -> Tensor:
    """An upper bound of the sum of the absolute terms of each weight, `[N, K]`.

    A backend adds up to two terms per part: for codes of more than 4 bits, int4 takes a
    high half, up to 8 * low * s, and a low half, 8 * s + |8 + 8 * low - zero| * s.
    """
    total = torch.zeros(matrix.rows + 1, matrix.padded, dtype=torch.float64)
    for part in matrix.parts():
        low = 2.0 ** max(sum(part.widths) - 4, 0)
        terms = 8 + abs(8 - part.zero)
        if low > 1:
            terms = 8 * low + 8 + abs(8 + 8 * low - part.zero)
        scale = (part.scale.double() * part.step).abs().T  # [rows, K' / G]
        values = terms * scale.repeat_interleave(matrix.group_size, 1)
        total.index_add_(0, part.order.long() % (matrix.rows + 1), values)
    return total[: matrix.rows, : matrix.columns]
