r"""Rounding a matrix to b-bit codes with one scale a group, plainly or calibrated.

A row is cut into groups of G weights. A code :math:`q \in [0, 2^b - 1]` stands for

.. math:: \hat w = s\,(q - 2^{b-1})

with a bfloat16 scale s a group. Rounding to nearest errs by at most s/2 inside the
range. GPTQ (Frantar et al. 2022, arXiv 2210.17323) rounds column by column and spreads
each column's error over those not yet rounded, so that :math:`\|(W - \hat W) X\|` is
small instead of :math:`\|W - \hat W\|`. Lesson: `notebooks/basic/03_quantisation.ipynb`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .matrix import check_finite, pad_columns

BITS = (2, 3, 4, 5, 6, 8)
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.72, 0.64, 0.56)  # of a group's largest weight


@dataclass(frozen=True)
class Codes:
    """A rounded matrix.

    Attributes:
        codes: uint8 `[N, K']`, K' = K padded to a multiple of the group size.
        scale: bfloat16 `[K' / G, N]`.
        bits: int64 `[N]`, the bits of each row.
        columns: K.
    """

    codes: Tensor
    scale: Tensor
    bits: Tensor
    columns: int

    @property
    def group_size(self) -> int:
        return self.codes.shape[1] // len(self.scale)

    def dequantise(self) -> Tensor:
        """The matrix that the codes stand for, float32 `[N, K]`."""
        n, padded = self.codes.shape
        zero = (2.0 ** (self.bits - 1))[:, None, None]
        groups = self.codes.float().view(n, -1, self.group_size)
        matrix = (groups - zero) * self.scale.float().T[:, :, None]
        return matrix.reshape(n, padded)[:, : self.columns]


def quantise(
    weight: Tensor,
    bits: int | Tensor,
    group_size: int = 64,
    second_moment: Tensor | None = None,
    damp: float = 0.01,
) -> Codes:
    """Round `weight` to codes; with the inputs' second moment, by GPTQ.

    Args:
        weight: `[N, K]`.
        bits: one of 2, 3, 4, 5, 6, 8 for all rows, or one a row `[N]`.
        group_size: weights that share a scale.
        second_moment: `[K, K]`, E[x xᵀ] of the layer's inputs. None: round to nearest.
        damp: share of the mean diagonal that is added to it (GPTQ).

    Raises:
        ValueError: for a weight that is no finite matrix, bits that are none of these,
            no group size, or a second moment of another size or not finite.
    """
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"weight must be a matrix [N, K]; got {list(weight.shape)}.")
    if not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"group_size must be a number of weights; got {group_size!r}.")
    check_finite(weight, "weight")
    bits = _bits_a_row(bits, len(weight))
    columns = weight.shape[1]
    weight = pad_columns(weight.detach().float(), group_size)
    if second_moment is None:
        importance = torch.ones(weight.shape[1])
        codes, scale = _nearest(weight, bits, group_size, importance)
    else:
        if second_moment.shape != (columns, columns):
            raise ValueError(
                f"second_moment must be [K, K] with K = {columns}; got "
                f"{list(second_moment.shape)}."
            )
        check_finite(second_moment, "second_moment")
        factor, importance = _factor(second_moment, weight.shape[1], damp)
        codes, scale = _gptq(weight, bits, group_size, factor, importance)
    return Codes(codes, scale, bits, columns)


def output_error(codes: Codes, weight: Tensor, second_moment: Tensor | None) -> Tensor:
    """E[((w - ŵ)·x)²] of each row, `[N]`: what rounding does to a neuron's output."""
    difference = weight.float() - codes.dequantise()
    if second_moment is None:
        return difference.square().sum(1)
    return ((difference @ second_moment) * difference).sum(1).clamp(min=0)


def _bits_a_row(bits: int | Tensor, rows: int) -> Tensor:
    given = bits.tolist() if isinstance(bits, Tensor) else bits
    given = given if isinstance(given, list) else [given] * rows
    wrong = [b for b in given if b not in BITS]
    if wrong or len(given) != rows:
        got = repr(wrong[0]) if wrong else f"{len(given)} of them"
        raise ValueError(
            f"bits must be of {BITS}, one for all rows or one for each of {rows}; got "
            f"{got}."
        )
    return torch.tensor(given).long()


def search_scale(group: Tensor, bits: Tensor, importance: Tensor) -> Tensor:
    """The scale `[N]` of each row of a group `[N, G]` with the smallest square error.

    Tried are the shares `CLIPS` of a group's largest weight as its range, the error of
    each weight counted by `importance` `[G]`. Scales are bfloat16 values.
    """
    half = 2.0 ** (bits - 1)
    largest = group.abs().amax(1).clamp(min=1e-9)
    best = best_error = None
    for clip in CLIPS:
        scale = (largest * clip / (half - 0.5)).bfloat16().float()
        rounded = round_to(group, scale[:, None], half[:, None])
        error = ((rounded - half[:, None]) * scale[:, None] - group).square()
        error = (error * importance).sum(1)
        better = error < best_error if best is not None else None
        best = scale if best is None else torch.where(better, scale, best)
        best_error = error if better is None else torch.minimum(error, best_error)
    return best


def round_to(weight: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    """The nearest code, as a float: `clamp(round(w / s + 2^(b-1)), 0, 2^b - 1)`."""
    codes = (weight / scale + half).round()
    return torch.minimum(codes.clamp(min=0), 2 * half - 1)


def _nearest(weight, bits, group_size, importance):
    half = 2.0 ** (bits - 1)
    codes, scales = torch.empty(weight.shape, dtype=torch.uint8), []
    for start in range(0, weight.shape[1], group_size):
        columns = slice(start, start + group_size)
        scale = search_scale(weight[:, columns], bits, importance[columns])
        codes[:, columns] = round_to(weight[:, columns], scale[:, None], half[:, None])
        scales.append(scale.bfloat16())
    return codes, torch.stack(scales)


def _factor(second_moment: Tensor, padded: int, damp: float) -> tuple[Tensor, Tensor]:
    """GPTQ's upper Cholesky factor of H⁻¹, and H's diagonal; padding as unit inputs."""
    H = torch.eye(padded, dtype=torch.float64)
    columns = len(second_moment)
    H[:columns, :columns] = second_moment.double()
    diagonal = H.diagonal()
    diagonal[:columns] += damp * diagonal[:columns].mean() + 1e-9
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    factor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float(), diagonal.float()


def _gptq(weight, bits, group_size, factor, importance):
    weight, half = weight.clone(), 2.0 ** (bits - 1)
    codes, scales = torch.empty(weight.shape, dtype=torch.uint8), []
    for start in range(0, weight.shape[1], group_size):
        end = start + group_size
        scale = search_scale(weight[:, start:end], bits, importance[start:end])
        scales.append(scale.bfloat16())
        errors = weight.new_empty(len(weight), group_size)
        for k in range(start, end):
            code = round_to(weight[:, k], scale, half)
            codes[:, k] = code
            error = (weight[:, k] - (code - half) * scale) / factor[k, k]
            weight[:, k + 1 : end] -= error[:, None] * factor[k, k + 1 : end]
            errors[:, k - start] = error
        weight[:, end:] -= errors @ factor[start:end, end:]
    return codes, torch.stack(scales)
