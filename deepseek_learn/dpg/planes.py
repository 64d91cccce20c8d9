"""Store each code once, as bit-planes that can also be read at a lower precision.

A code is split into planes from its high bits to its low bits: 8 = 4 + 4, 6 = 4 + 2,
5 = 4 + 1, 3 = 2 + 1. In memory, a plane of p bits is an array of bytes with shape
`[rows / 16, K / (4 P), 64]`, where P = 8 / p. The byte for row r of 16 and lane k4 of 4
holds the P codes of the columns `4 P kb + 4 j + k4`, j = 0..P-1, with code j at bit
p j. The kernels' vector instructions process 64 bytes at a time, which correspond to
16 rows x 4 columns.
"""

from collections.abc import Sequence

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
    """Split codes into packed planes, from the high bits to the low bits.

    The codes are a uint8 tensor of shape `[rows, K]` with `bits` bits per code.
    """
    planes, shift = [], bits
    # from the top: leaving out the last planes truncates the codes
    for width in WIDTHS[bits]:
        shift -= width
        planes.append(pack((codes >> shift) & (2**width - 1), width))
    return planes


def pack(codes: Tensor, width: int) -> Tensor:
    """Pack the codes of one plane into bytes.

    The codes are a uint8 tensor of shape `[rows, K]` with values below `2**width`. The
    result has shape `[rows / 16, K / (4 P), 64]`.
    """
    rows, columns = codes.shape
    per_byte = 8 // width  # P
    # [nb, 16, kb, P, 4]: the codes of one byte are 4 columns apart, so that one shift and
    # mask of a line yields the 4 neighboring columns of every row
    lanes = codes.view(rows // ROWS, ROWS, columns // (4 * per_byte), per_byte, 4)
    packed = torch.zeros_like(lanes[:, :, :, 0])  # [nb, 16, kb, 4]
    for j in range(per_byte):
        packed |= lanes[:, :, :, j] << (width * j)
    # rows inside columns, [nb, kb, 16, 4]: a line of 64 bytes is one vector register
    return packed.transpose(1, 2).reshape(rows // ROWS, -1, 64).contiguous()


def unpack(plane: Tensor, width: int, rows: Tensor | None = None) -> Tensor:
    """Unpack the codes of a plane into a tensor of shape `[rows, K]`.

    If `rows` is given, an int64 tensor of shape `[n]`, only those rows are unpacked.
    """
    lanes = plane.view(len(plane), -1, ROWS, 4)  # [nb, kb, 16, 4]
    if rows is None:
        lanes = lanes.transpose(1, 2).flatten(0, 1)  # [rows, kb, 4]
    else:
        lanes = lanes[rows // ROWS, :, rows % ROWS]  # [n, kb, 4]
    per_byte = 8 // width
    parts = [(lanes >> (width * j)) & (2**width - 1) for j in range(per_byte)]
    return torch.stack(parts, 2).flatten(1)  # from [rows, kb, P, 4]


def join(
    planes: Sequence[Tensor], widths: Sequence[int], rows: Tensor | None = None
) -> Tensor:
    """Return the codes that are divided among planes, high bits first, `[rows, K]`.

    If `rows` is given, an int64 tensor of shape `[n]`, only those rows are unpacked.
    """
    codes = torch.zeros((), dtype=torch.uint8, device=planes[0].device)
    for plane, width in zip(planes, widths, strict=True):
        codes = (codes << width) | unpack(plane, width, rows)
    return codes


def used_widths(bits: int, max_bits: int) -> tuple[int, ...]:
    """Return the widths of the leading planes that fit within `max_bits`.

    The first plane is always used.
    """
    prefix: list[int] = []
    total = 0
    for width in WIDTHS[bits]:
        if prefix and total + width > max_bits:
            break  # not a later, narrower plane: its bits are lower than those left out
        prefix.append(width)
        total += width
    return tuple(prefix)


def step_and_zero(bits: int, used: int) -> tuple[float, float]:
    """Return the step and the zero point of a truncated code.

    The weight is step * (code - zero) * scale. The dropped bits are assumed to lie in
    the middle of their range, so truncation does not bias the weights. For example, if
    4 of 8 bits are used, the step is 16 and the zero point is 7.53.
    """
    low = bits - used
    step = 2.0**low
    return step, (2.0 ** (bits - 1) - (step - 1) / 2) / step
