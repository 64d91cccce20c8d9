"""Store codes once, as bit-planes: reading a prefix of them gives a lower precision.

A code is split from its high bits to its low bits: 8 = 4 + 4, 6 = 4 + 2, 5 = 4 + 1,
3 = 2 + 1. In memory, a plane of p bits is `[rows / 16, K / (4 P), 64]` bytes with
P = 8 / p. The byte of (row r of 16, lane k4 of 4) holds the P codes of columns
`4 P kb + 4 j + k4`, j = 0..P-1, at bit p j. The kernels' vector instructions take
64 bytes at a time: 16 rows x 4 columns.
"""

import torch
from torch import Tensor

from .matrix import ROWS

WIDTHS = {
    1: (1,),
    2: (2,),
    3: (2, 1),
    4: (4,),
    5: (4, 1),
    6: (4, 2),
    7: (4, 2, 1),
    8: (4, 4),
}


def split(codes: Tensor, bits: int) -> list[Tensor]:
    """Split uint8 codes `[rows, K]` of `bits` bits into packed planes, high to low."""
    planes, shift = [], bits
    for width in WIDTHS[bits]:
        shift -= width
        planes.append(pack((codes >> shift) & (2**width - 1), width))
    return planes


def pack(codes: Tensor, width: int) -> Tensor:
    """Pack uint8 codes `[rows, K]` below `2**width`: `[rows / 16, K / (4 P), 64]`."""
    rows, columns = codes.shape
    per_byte = 8 // width
    lanes = codes.view(rows // ROWS, ROWS, columns // (4 * per_byte), per_byte, 4)
    packed = torch.zeros_like(lanes[:, :, :, 0])  # [nb, 16, kb, 4]
    for j in range(per_byte):
        packed |= lanes[:, :, :, j] << (width * j)
    return packed.transpose(1, 2).reshape(rows // ROWS, -1, 64).contiguous()


def unpack(plane: Tensor, width: int, rows: Tensor | None = None) -> Tensor:
    """Unpack the codes `[rows, K]` of a plane, or only those of `rows`, int64 `[n]`."""
    lanes = plane.view(len(plane), -1, ROWS, 4)  # [nb, kb, 16, 4]
    if rows is None:
        lanes = lanes.transpose(1, 2).flatten(0, 1)  # [rows, kb, 4]
    else:
        lanes = lanes[rows // ROWS, :, rows % ROWS]
    per_byte = 8 // width
    parts = [(lanes >> (width * j)) & (2**width - 1) for j in range(per_byte)]
    return torch.stack(parts, 2).flatten(1)  # from [rows, kb, P, 4]


def used_widths(bits: int, max_bits: int) -> tuple[int, ...]:
    """Return the leading planes that fit into `max_bits`; the first is always used."""
    prefix: list[int] = []
    total = 0
    for width in WIDTHS[bits]:
        if prefix and total + width > max_bits:
            break
        prefix.append(width)
        total += width
    return tuple(prefix)


def step_and_zero(bits: int, used: int) -> tuple[float, float]:
    """Return the step and zero point of a truncated code.

    The value is step * (code - zero) * scale. The dropped bits are assumed to be in the
    middle of their range, so that truncation does not bias the weights: if 4 of 8 bits
    are used, the step is 16 and the zero point is 7.53.
    """
    low = bits - used
    step = 2.0**low
    return step, (2.0 ** (bits - 1) - (step - 1) / 2) / step
