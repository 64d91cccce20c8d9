r"""Quantize weights to b-bit codes with one scale per group.

Each row is split into groups of G weights. A code :math:`q \in [0, 2^b - 1]` represents
the weight

.. math:: \hat w = s\,(q - 2^{b-1})

where s is the group's bfloat16 scale. It is chosen from a few candidates to minimize
the squared error. Rounding to nearest changes a weight by at most \|s\|/2, unless the
weight is outside the range of the codes.

The codes reach one step further below zero than above it. A scale may be negative, so
that each group turns the longer side to where its largest weight is, as llama.cpp's Q4_0
does. This costs no byte and leaves a smaller squared error (the part "signs" of
`benchmarks/dpg_quality.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BITS = (2, 3, 4, 5, 6, 8)
# The scales to try for each bit width. At 1.0, the code -2^(b-1) is exactly the weight that
# is largest in magnitude; below, weights are clipped; a negative fraction makes the other
# side the longer one. Chosen greedily on the weights of SmolLM2 and four models of the zoo.
CLIPS = {
    2: (0.79, 0.94, 0.67, -0.82, 0.58, 1.06),
    3: (0.91, 0.82, 1.0, 0.76, 1.06, 0.88),
    4: (0.97, 0.91, 1.03, 0.94, 1.0, 0.85),
    5: (1.0, 0.97, 1.06, 0.94),
    6: (1.0, 1.03, 1.06),
    8: (1.0, 1.03, 1.06),
}
CLIPS_TO_ESTIMATE = {  # the subset for `output_errors`, which takes less time
    2: (0.79, 0.67),
    3: (0.91, 0.82),
    4: (0.97, 0.91),
    5: (1.0, 0.97),
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


def extreme_weight(group: Tensor) -> Tensor:
    """Return the weight with the largest magnitude in each row, with its sign.

    It is never 0, since the scale of a group of zeros divides its weights.
    """
    low, high = group.aminmax(dim=1)
    return torch.where(-low > high, low, high.clamp(min=1e-9))


def best_scale(
    group: Tensor,
    extreme: Tensor,
    half: Tensor,
    clips: Tensor | Sequence[float],
    importance: Tensor,
) -> tuple[Tensor, Tensor]:
    """Find the scale with the smallest squared error for each row in a group.

    The group has shape `[N, G]`, and `extreme`, of shape `[N]`, is its `extreme_weight`.
    The candidate ranges are `clips` times this weight, and squared errors are weighted
    by `importance`, which has shape `[G]`. Returns the scales, rounded to bfloat16
    precision, and their errors, both of shape `[N]`.
    """
    low, high = -half[:, None], half[:, None] - 1  # [N, 1], the range of signed codes

    def attempt(clip: Tensor | float) -> tuple[Tensor, Tensor]:
        # The lowest code, -2^(b-1), stands for the extreme weight: a positive one makes the
        # scale negative. It is rounded first, as it will be stored.
        scale = (extreme * clip / -half).bfloat16().float()  # [N]
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
