r"""Quantize weights to b-bit codes with one scale per group.

Each row is split into groups of G weights. A code :math:`q \in [0, 2^b - 1]` represents
the weight

.. math:: \hat w = s\,(q - 2^{b-1})

where s is the group's bfloat16 scale. It is chosen from a few candidates to minimize
the squared error. Rounding to nearest changes a weight by at most s/2, unless the
weight is outside the range of the codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BITS = (2, 3, 4, 5, 6, 8)
CLIPS = {  # clipping ranges per bit width, as fractions of a group's largest weight
    2: (1.0, 0.78, 0.68, 0.6, 0.52),
    3: (1.0, 0.92, 0.85, 0.78, 0.7),
    4: (1.0, 0.95, 0.9, 0.85, 0.78),
    5: (1.0, 0.95, 0.9),
    6: (1.0, 0.95),
    8: (1.0,),  # the steps are so small that clipping never helps
}
CLIPS_TO_ESTIMATE = {  # the subset for `output_errors`, which halves the work
    2: (0.78, 0.6),
    3: (0.92, 0.78),
    4: (1.0, 0.9),
    5: (1.0, 0.95),
    6: (1.0,),
    8: (1.0,),
}


@dataclass(frozen=True)
class Codes:
    """A matrix that has been rounded to codes.

    Attributes:
        codes: the codes, a uint8 tensor of shape `[N, K']`, where K' is K padded to a
            multiple of the group size.
        scale: one scale per group and row, a bfloat16 tensor of shape `[K' / G, N]`.
        bits: the number of bits for each row, an int64 tensor of shape `[N]`.
        columns: the number of columns K, without padding.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> codes = dpg.quantize(torch.randn(32, 64), bits=4)
    >>> codes.codes.dtype, codes.scale.shape, codes.bits.unique().tolist()
    (torch.uint8, torch.Size([1, 32]), [4])
    """

    codes: Tensor
    scale: Tensor
    bits: Tensor
    columns: int

    @property
    def group_size(self) -> int:
        return self.codes.shape[1] // len(self.scale)

    def dequantize(self) -> Tensor:
        """Return the float32 matrix represented by the codes, of shape `[N, K]`."""
        n, padded = self.codes.shape
        zero = (2.0 ** (self.bits - 1))[:, None, None]  # [N, 1, 1]
        groups = self.codes.float().view(n, -1, self.group_size)  # [N, K' / G, G]
        matrix = (groups - zero) * self.scale.float().T[:, :, None]
        return matrix.reshape(n, padded)[:, : self.columns]


def largest_weight(group: Tensor) -> Tensor:
    # not 0, since the scale of a group of zeros divides its weights
    return group.abs().amax(1).clamp(min=1e-9)


def best_scale(
    group: Tensor,
    largest: Tensor,
    half: Tensor,
    clips: Tensor | Sequence[float],
    importance: Tensor,
) -> tuple[Tensor, Tensor]:
    """Find the scale with the smallest squared error for each row in a group.

    The group has shape `[N, G]`. The candidate ranges are `clips` times the largest
    weight of each row, and squared errors are weighted by `importance`, which has shape
    `[G]`. Returns the scales, rounded to bfloat16 precision, and their errors, both of
    shape `[N]`.
    """
    low, high = -half[:, None], half[:, None] - 1  # [N, 1], the range of signed codes

    def attempt(clip: Tensor | float) -> tuple[Tensor, Tensor]:
        # 2^(b-1) - ½ steps to the largest weight: the codes reach one step further below
        # zero than above it. The scale is rounded first, as it will be stored.
        scale = (largest * clip / (half - 0.5)).bfloat16().float()  # [N]
        # quantize and compare in place, in one buffer of the size of the group
        error = (group / scale[:, None]).round_().clamp_(low, high)
        return scale, error.mul_(scale[:, None]).sub_(group).square_() @ importance

    best, best_error = attempt(clips[0])
    for clip in clips[1:]:
        scale, error = attempt(clip)
        best = torch.where(error < best_error, scale, best)
        best_error = torch.minimum(error, best_error)
    return best, best_error


def clips_per_row(bits: Tensor) -> Tensor:
    """Return the clipping ranges to try for each row, a tensor of shape `[tries, N]`.

    If a bit width has fewer ranges than the others, its ranges are repeated.
    """
    levels, index = bits.unique(return_inverse=True)  # [widths], [N]
    lists = [CLIPS[b] for b in levels.tolist()]
    tries = range(max(map(len, lists)))
    # repeating a range cannot change the best one, and keeps the table rectangular
    table = torch.tensor([[clips[i % len(clips)] for clips in lists] for i in tries])
    return table[:, index]


def round_to(weight: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    """Return the nearest code as a float: w / s, rounded and clamped, plus 2^(b-1)."""
    return (weight / scale).round().clamp(-half, half - 1) + half


def check_group_size(group_size: int) -> None:
    """Raise ValueError if the kernels do not support the group size."""
    if not isinstance(group_size, int) or group_size not in (32, 64, 128):
        raise ValueError(f"group_size must be 32, 64 or 128; got {group_size!r}.")
