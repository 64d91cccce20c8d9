r"""Round a matrix to codes, to nearest or by GPTQ, and compute the remaining error.

Lesson: `notebooks/basic/03_quantization.ipynb`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .codes import (
    BITS,
    CLIPS_TO_ESTIMATE,
    Codes,
    best_scale,
    clips_per_row,
    largest_weight,
)
from .gptq import gptq, inverse_factor, lower_factor
from .matrix import check_finite, pad_columns

ROWS_AT_ONCE = 4096  # a group of this many rows fits into the processor's cache


def quantize(
    weight: Tensor,
    bits: int | Tensor,
    group_size: int = 64,
    second_moment: Tensor | None = None,
    damp: float = 0.01,
) -> Codes:
    """Round `weight` to codes, by GPTQ if the inputs' second moment is given.

    Args:
        weight: the matrix to round, `[N, K]`.
        bits: one of 2, 3, 4, 5, 6, 8 for all rows, or one value per row `[N]`.
        group_size: number of weights that share a scale.
        second_moment: E[x xᵀ] of the layer's inputs, `[K, K]`. If only its diagonal
            `[K]` is given, weights are rounded to nearest, with scales that minimize
            the weighted error. None does the same with equal weights for all inputs.
        damp: fraction of the mean diagonal that GPTQ adds to the diagonal.

    Raises:
        ValueError: if the weight is not a finite matrix, the bits are unsupported, the
            group size is invalid, or the second moment is not finite or has the wrong
            size.
    """
    settings = _settings(weight, group_size, second_moment, damp)
    bits, parts = _bits_per_row(bits, len(weight)), []
    factor = None if settings.lower is None else inverse_factor(settings.lower)
    for rows, row_bits in zip(
        weight.split(ROWS_AT_ONCE), bits.split(ROWS_AT_ONCE), strict=True
    ):
        parts.append(_round_rows(rows, row_bits, settings, factor))
    codes, scales = (list(part) for part in zip(*parts, strict=True))
    return Codes(torch.cat(codes), torch.cat(scales, 1), bits, weight.shape[1])


def output_error(codes: Codes, weight: Tensor, second_moment: Tensor | None) -> Tensor:
    """Return E[((w - ŵ)·x)²] per row, `[N]`: the squared error of a neuron's output."""
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
    r"""Return the expected `output_error` of each row at each level, `[levels, N]`.

    Without correlations, this is the error of rounding to nearest. With correlations,
    it estimates the error of GPTQ: once the later columns have compensated for a
    column's error, its cost is the conditional variance :math:`1 / U_{kk}^2` of the
    column's input given the inputs of the later columns, so

    .. math:: \delta H \delta^\top \approx \sum_k \delta_k^2 / U_{kk}^2

    where :math:`\delta_k` are the errors of rounding to nearest, as if GPTQ did not
    change the weights. At 2 bits, where the changed weights are clipped more often, the
    estimate is somewhat too low. Fewer clipping ranges are tried than in rounding
    (`CLIPS_TO_ESTIMATE`), so the errors are somewhat too large, especially for rows
    with outliers.
    """
    settings = _settings(weight, group_size, second_moment, damp)
    total = torch.zeros(len(levels), len(weight))
    for rows in torch.arange(len(weight)).split(ROWS_AT_ONCE):
        first, last = int(rows[0]), int(rows[-1]) + 1
        columns = _columns(weight[first:last], group_size)
        for start in range(0, len(columns), group_size):
            group = columns[start : start + group_size].T
            importance = settings.importance[start : start + group_size]
            largest = largest_weight(group)
            for bits, errors in zip(levels, total, strict=True):
                half = torch.full_like(largest, 2.0 ** (bits - 1))
                clips = CLIPS_TO_ESTIMATE[bits]
                _, error = best_scale(group, largest, half, clips, importance)
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


@dataclass(frozen=True)
class _Settings:
    """The settings that rounding needs besides the rows.

    Attributes:
        importance: the cost of a squared error in each column, `[K']`.
        lower: the Cholesky factor L `[K', K']` of the damped H with rows and columns in
            reverse order; None for rounding to nearest.
    """

    group_size: int
    importance: Tensor
    lower: Tensor | None = None


def _settings(
    weight: Tensor, group_size: int, second_moment: Tensor | None, damp: float
) -> _Settings:
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
    lower = lower_factor(second_moment, padded, damp)
    return _Settings(group_size, lower.diagonal().flip(0).square().float(), lower)


def _columns(weight: Tensor, group_size: int) -> Tensor:
    """Return a padded, transposed copy of `[N, K]`, `[K', N]`, contiguous for speed."""
    padded = pad_columns(weight.detach().float(), group_size)
    return padded.T.clone(memory_format=torch.contiguous_format)


def _round_rows(
    weight: Tensor, bits: Tensor, settings: _Settings, factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Round some rows; return their codes `[N, K']` and scales `[K' / G, N]`."""
    columns, half = _columns(weight, settings.group_size), 2.0 ** (bits - 1)
    clips = clips_per_row(bits)
    if factor is None:
        scales = _nearest(columns, half, clips, settings)
    else:
        size, importance = settings.group_size, settings.importance
        scales = gptq(columns, half, clips, size, importance, factor)
    codes = columns.add_(half).to(torch.uint8).T.contiguous()
    return codes, torch.stack(scales).bfloat16()


def _nearest(
    W: Tensor, half: Tensor, clips: Tensor, settings: _Settings
) -> list[Tensor]:
    """Replace `W` `[K', N]` with its signed codes in place, and return the scales."""
    scales = []
    for start in range(0, len(W), settings.group_size):
        group = W[start : start + settings.group_size]
        importance = settings.importance[start : start + settings.group_size]
        scales.append(
            best_scale(group.T, largest_weight(group.T), half, clips, importance)[0]
        )
        group.div_(scales[-1]).round_().clamp_(-half, half - 1)
    return scales
