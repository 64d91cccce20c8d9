r"""Rounding a matrix to b-bit codes with one scale per group: to nearest, or by GPTQ.

A row is split into groups of G weights. A code :math:`q \in [0, 2^b - 1]` represents

.. math:: \hat w = s\,(q - 2^{b-1})

with a bfloat16 scale s per group. The error of rounding to nearest is at most s/2
inside the range. GPTQ (Frantar et al. 2022, arXiv 2210.17323) rounds column by column
and spreads each column's error over the columns not yet rounded, so that
:math:`\|(W - \hat W) X\|` is small instead of :math:`\|W - \hat W\|`.
Lesson: `notebooks/basic/03_quantization.ipynb`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .matrix import check_finite, pad_columns

BITS = (2, 3, 4, 5, 6, 8)
CLIPS = {  # bits → clipping ranges to try, as fractions of a group's largest weight
    2: (1.0, 0.78, 0.68, 0.6, 0.52),
    3: (1.0, 0.92, 0.85, 0.78, 0.7),
    4: (1.0, 0.95, 0.9, 0.85, 0.78),
    5: (1.0, 0.95, 0.9),
    6: (1.0, 0.95),
    8: (1.0,),  # the steps are so small that clipping only does harm
}
CLIPS_TO_ESTIMATE = {  # the ones that `output_errors` tries, for half of the work
    2: (0.78, 0.6),
    3: (0.92, 0.78),
    4: (1.0, 0.9),
    5: (1.0, 0.95),
    6: (1.0,),
    8: (1.0,),
}
ROWS_AT_ONCE = 4096  # a group of this many rows stays in the processor's cache
COLUMNS_AT_ONCE = 16  # GPTQ's block size; then errors go to the rest of the group


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

    def dequantize(self) -> Tensor:
        """The matrix that the codes represent, float32 `[N, K]`."""
        n, padded = self.codes.shape
        zero = (2.0 ** (self.bits - 1))[:, None, None]
        groups = self.codes.float().view(n, -1, self.group_size)
        matrix = (groups - zero) * self.scale.float().T[:, :, None]
        return matrix.reshape(n, padded)[:, : self.columns]


def quantize(
    weight: Tensor,
    bits: int | Tensor,
    group_size: int = 64,
    second_moment: Tensor | None = None,
    damp: float = 0.01,
) -> Codes:
    """Round `weight` to codes; with the inputs' second moment, by GPTQ.

    Args:
        weight: `[N, K]`.
        bits: one of 2, 3, 4, 5, 6, 8 for all rows, or one value per row `[N]`.
        group_size: number of weights that share a scale.
        second_moment: `[K, K]`, E[x xᵀ] of the layer's inputs. With only its diagonal
            `[K]`, weights are rounded to nearest with scales that minimize the weighted
            error. None: all inputs have the same weight.
        damp: fraction of the mean diagonal that is added to the diagonal (GPTQ).

    Raises:
        ValueError: for a weight that is not a finite matrix, unsupported bits, an
            invalid group size, or a second moment that is not finite or has the wrong
            size.
    """
    settings = _settings(weight, group_size, second_moment, damp)
    bits, parts = _bits_per_row(bits, len(weight)), []
    factor = None if settings.lower is None else _inverse(settings.lower)
    for rows, row_bits in zip(
        weight.split(ROWS_AT_ONCE), bits.split(ROWS_AT_ONCE), strict=True
    ):
        parts.append(_round_rows(rows, row_bits, settings, factor))
    codes, scales = (list(part) for part in zip(*parts, strict=True))
    return Codes(torch.cat(codes), torch.cat(scales, 1), bits, weight.shape[1])


def output_error(codes: Codes, weight: Tensor, second_moment: Tensor | None) -> Tensor:
    """E[((w - ŵ)·x)²] of each row, `[N]`: the squared error of a neuron's output."""
    difference = weight.float() - codes.dequantize()
    if second_moment is None:
        return difference.square().sum(1)
    if second_moment.dim() == 1:  # the inputs are assumed to be uncorrelated
        return difference.square() @ second_moment
    return ((difference @ second_moment) * difference).sum(1).clamp(min=0)


def output_errors(
    weight: Tensor,
    levels: tuple[int, ...],
    group_size: int,
    second_moment: Tensor | None,
    damp: float = 0.01,
) -> Tensor:
    r"""Expected `output_error` of each row at each of `levels` bits, `[levels, N]`.

    Without correlations, this is the error of rounding to nearest. With correlations,
    it estimates the error of GPTQ: once the later columns have compensated for a
    column's error, its cost is the conditional variance :math:`1 / U_{kk}^2` of the
    column's input given the inputs of the later columns, so

    .. math:: \delta H \delta^\top \approx \sum_k \delta_k^2 / U_{kk}^2

    with the errors of rounding to nearest, as if GPTQ did not change the weights. At 2
    bits, where the changed weights are clipped more often, the estimate is somewhat too
    low. Fewer clipping ranges are tried than in rounding (`CLIPS_TO_ESTIMATE`), so the
    errors are somewhat too large, especially for rows with outliers.
    """
    settings = _settings(weight, group_size, second_moment, damp)
    total = torch.zeros(len(levels), len(weight))
    for rows in torch.arange(len(weight)).split(ROWS_AT_ONCE):
        first, last = int(rows[0]), int(rows[-1]) + 1
        columns = _columns(weight[first:last], group_size)
        for start in range(0, len(columns), group_size):
            group = columns[start : start + group_size].T
            importance = settings.importance[start : start + group_size]
            largest = _largest(group)
            for bits, errors in zip(levels, total, strict=True):
                half = torch.full_like(largest, 2.0 ** (bits - 1))
                clips = CLIPS_TO_ESTIMATE[bits]
                _, error = _search(group, largest, half, clips, importance)
                errors[first:last] += error
    return total


def _bits_per_row(bits: int | Tensor, rows: int) -> Tensor:
    values = bits.tolist() if isinstance(bits, Tensor) else bits
    values = values if isinstance(values, list) else [values] * rows
    invalid = [b for b in values if b not in BITS]
    if invalid or len(values) != rows:
        problem = repr(invalid[0]) if invalid else f"{len(values)} values"
        raise ValueError(
            f"bits must be one of {BITS} for all rows, or one of them for each of the "
            f"{rows} rows; got {problem}."
        )
    return torch.tensor(values).long()


def _largest(group: Tensor) -> Tensor:
    return group.abs().amax(1).clamp(min=1e-9)


def _search(group, largest, half, clips, importance) -> tuple[Tensor, Tensor]:
    """The scales of a group `[N, G]` with the least squared error; both are `[N]`.

    It tries `clips` times the group's largest weight as the range. Squared errors are
    weighted by `importance` `[G]`. Scales are bfloat16 values.
    """
    low, high = -half[:, None], half[:, None] - 1
    best = best_error = None
    for clip in clips:
        scale = (largest * clip / (half - 0.5)).bfloat16().float()
        error = (group / scale[:, None]).round_().clamp_(low, high)
        error = error.mul_(scale[:, None]).sub_(group).square_() @ importance
        better = error < best_error if best is not None else None
        best = scale if best is None else torch.where(better, scale, best)
        best_error = error if better is None else torch.minimum(error, best_error)
    return best, best_error


def _clips(bits: Tensor) -> Tensor:
    """Clipping ranges to try for each row, `[tries, N]`; short lists are repeated."""
    levels, index = bits.unique(return_inverse=True)
    lists = [CLIPS[b] for b in levels.tolist()]
    tries = range(max(map(len, lists)))
    table = torch.tensor([[clips[i % len(clips)] for clips in lists] for i in tries])
    return table[:, index]


def round_to(weight: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    """The nearest code, as a float: w / s rounded and clamped, plus half = 2^(b-1)."""
    return (weight / scale).round().clamp(-half, half - 1) + half


@dataclass(frozen=True)
class _Settings:
    """What rounding needs besides the rows.

    Attributes:
        importance: `[K']`, the cost of a squared error in each column.
        lower: the Cholesky factor L `[K', K']` of the damped H with rows and columns in
            reverse order; None for rounding to nearest.
    """

    group_size: int
    importance: Tensor
    lower: Tensor | None = None


def _settings(weight, group_size, second_moment, damp) -> _Settings:
    """Validate the arguments of `quantize`, and factor the second moment."""
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"weight must be a matrix [N, K]; got {list(weight.shape)}.")
    if not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"group_size must be a positive integer; got {group_size!r}.")
    check_finite(weight, "weight")
    columns = weight.shape[1]
    padded = columns + -columns % group_size
    if second_moment is None:
        return _Settings(group_size, torch.ones(padded))
    if second_moment.shape not in ((columns, columns), (columns,)):
        raise ValueError(
            f"second_moment must be [K, K] with K = {columns}, or its diagonal [K]; "
            f"got {list(second_moment.shape)}."
        )
    check_finite(second_moment, "second_moment")
    if second_moment.dim() == 1:
        return _Settings(group_size, pad_columns(second_moment[None], group_size)[0])
    lower = _lower(second_moment, padded, damp)
    return _Settings(group_size, lower.diagonal().flip(0).square().float(), lower)


def _lower(second_moment: Tensor, padded: int, damp: float) -> Tensor:
    """L of the damped, reversed H, float64; padding columns have second moment 1."""
    H = torch.eye(padded, dtype=torch.float64)
    columns = len(second_moment)
    H[:columns, :columns] = second_moment.double()
    diagonal = H.diagonal()
    diagonal[:columns] += damp * diagonal[:columns].mean().item() + 1e-9
    return torch.linalg.cholesky(H.flip(0, 1))


def _inverse(lower: Tensor) -> Tensor:
    """GPTQ's upper factor U of H⁻¹ = Uᵀ U, float32: with H = L Lᵀ reversed, U = L⁻¹.

    Damping keeps the condition number of L below about √(K / damp), a few hundred, so
    that float32 suffices.
    """
    eye = torch.eye(len(lower))
    return torch.linalg.solve_triangular(lower.float(), eye, upper=False).flip(0, 1)


def _columns(weight: Tensor, group_size: int) -> Tensor:
    """A padded and transposed copy of `[N, K]`, contiguous for speed: `[K', N]`."""
    padded = pad_columns(weight.detach().float(), group_size)
    return padded.T.clone(memory_format=torch.contiguous_format)


def _round_rows(
    weight: Tensor, bits: Tensor, settings: _Settings, factor: Tensor | None
):
    """Codes `[N, K']` and scales `[K' / G, N]` of some rows."""
    columns, half = _columns(weight, settings.group_size), 2.0 ** (bits - 1)
    clips = _clips(bits)
    if factor is None:
        scales = _nearest(columns, half, clips, settings)
    else:
        scales = _gptq(columns, half, clips, settings, factor)
    codes = columns.add_(half).to(torch.uint8).T.contiguous()
    return codes, torch.stack(scales).bfloat16()


def _nearest(W: Tensor, half: Tensor, clips: Tensor, settings: _Settings):
    """Replace `W` `[K', N]` by its signed codes, in place; returns the scales."""
    scales = []
    for start in range(0, len(W), settings.group_size):
        group = W[start : start + settings.group_size]
        importance = settings.importance[start : start + settings.group_size]
        scales.append(_search(group.T, _largest(group.T), half, clips, importance)[0])
        group.div_(scales[-1]).round_().clamp_(-half, half - 1)
    return scales


def _gptq(W: Tensor, half: Tensor, clips: Tensor, settings: _Settings, U: Tensor):
    """Replace `W` `[K', N]` by its signed codes, in place; returns the scales.

    `U` is the upper factor of H⁻¹. A column's error is divided by U_kk and, times row k
    of U, subtracted from the later columns: from its block immediately, then from its
    group, then from the rest. The delayed updates are matrix products for speed.
    """
    size, diagonal, scales = settings.group_size, U.diagonal().tolist(), []
    errors = W.new_empty(size, W.shape[1])  # [G, N]
    for start in range(0, len(W), size):
        # 1. Choose the group's scales [N] from the weights as updated so far.
        end = start + size
        group, importance = W[start:end].T, settings.importance[start:end]
        scale, _ = _search(group, _largest(group), half, clips, importance)
        scales.append(scale)
        for first in range(start, end, COLUMNS_AT_ONCE):
            last = min(first + COLUMNS_AT_ONCE, end)
            # 2. Round column by column; each error goes to the rest of the block.
            for k in range(first, last):
                code = (W[k] / scale).round_().clamp_(-half, half - 1)
                error = errors[k - start]
                torch.addcmul(W[k], code, scale, value=-1, out=error)
                error /= diagonal[k]
                W[k + 1 : last].addr_(U[k, k + 1 : last], error, alpha=-1)
                W[k] = code
            # 3. The block's errors go to the rest of the group.
            block_errors = errors[first - start : last - start]
            W[last:end].addmm_(U[first:last, last:end].T, block_errors, alpha=-1)
        # 4. The group's errors go to the remaining columns.
        W[end:].addmm_(U[start:end, end:].T, errors, alpha=-1)
    return scales
