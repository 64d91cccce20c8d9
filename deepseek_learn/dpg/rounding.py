"""Round a matrix to codes, either to nearest or with GPTQ, and compute the error.

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
    extreme_weight,
)
from .gptq import gptq, inverse_factor, lower_factor
from .matrix import check_finite, pad_columns

ROWS_AT_ONCE = 4096  # a group with this many rows fits in the CPU cache


def quantize(
    weight: Tensor,
    bits: int | Tensor,
    group_size: int = 64,
    second_moment: Tensor | None = None,
    damp: float = 0.01,
) -> Codes:
    """Round a weight matrix to codes, with GPTQ if the second moment is given.

    Args:
        weight: the matrix to round, of shape `[N, K]`.
        bits: the bit width of all rows (2, 3, 4, 5, 6 or 8), or a tensor of shape `[N]`
            with one bit width per row.
        group_size: the number of weights that share a scale.
        second_moment: the second moment E[x xᵀ] of the layer's inputs, of shape
            `[K, K]`. If only its diagonal is given, of shape `[K]`, weights are rounded
            to nearest, and the scales minimize the error weighted by the diagonal. If
            None, weights are rounded to nearest and all inputs are weighted equally.
        damp: the fraction of the mean diagonal that GPTQ adds to the diagonal.

    Raises:
        ValueError: if the weight is not a finite matrix, if a bit width is unsupported,
            if the group size is invalid, or if the second moment is not finite or has
            the wrong size.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> weight = torch.randn(32, 64)
    >>> codes = dpg.quantize(weight, bits=4, group_size=32)
    >>> codes.codes.min().item() >= -8, codes.codes.max().item() <= 7
    (True, False)
    >>> codes.scale.shape  # one per row and group
    torch.Size([2, 32])
    """
    settings = _settings(weight, group_size, second_moment, damp)
    bits, parts = _bits_per_row(bits, len(weight)), []
    # The inverse depends on the inputs only, so all rows of the layer share it.
    factor = None if settings.lower is None else inverse_factor(settings.lower)
    # Rows do not affect each other: errors are compensated within a row.
    for rows, row_bits in zip(
        weight.split(ROWS_AT_ONCE), bits.split(ROWS_AT_ONCE), strict=True
    ):
        parts.append(_round_rows(rows, row_bits, settings, factor))
    codes, scales = (list(part) for part in zip(*parts, strict=True))
    return Codes(torch.cat(codes), torch.cat(scales, 1), bits, weight.shape[1])


def output_error(codes: Codes, weight: Tensor, second_moment: Tensor | None) -> Tensor:
    """Compute the squared output error E[((w - ŵ)·x)²] of each row.

    Returns a tensor of shape `[N]`, with one error per neuron.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> weight, x = torch.randn(32, 64), torch.randn(500, 64)
    >>> second_moment = x.T @ x / len(x)
    >>> rounded = dpg.quantize(weight, bits=3)
    >>> gptq = dpg.quantize(weight, bits=3, second_moment=second_moment)
    >>> error = dpg.output_error(gptq, weight, second_moment).sum()
    >>> bool(error < dpg.output_error(rounded, weight, second_moment).sum())
    True
    """
    difference = weight.float() - codes.dequantize()
    if second_moment is None:
        return difference.square().sum(1)
    if second_moment.dim() == 1:  # the inputs are assumed to be uncorrelated
        return difference.square() @ second_moment  # [N]
    # δ H δᵀ of each row; clamped because rounding can make a tiny one negative
    return ((difference @ second_moment) * difference).sum(1).clamp(min=0)


def output_errors(
    weight: Tensor,
    levels: tuple[int, ...],
    group_size: int,
    second_moment: Tensor | None,
    damp: float = 0.01,
) -> Tensor:
    r"""Estimate the `output_error` of each row at each level.

    Returns a tensor of shape `[levels, N]`. Without correlations, this is the error of
    rounding to nearest. With correlations, it is an estimate of the error of GPTQ. Once
    the later columns have compensated for the error of a column, the remaining cost is
    the conditional variance :math:`1 / U_{kk}^2` of that column's input, given the
    inputs of the later columns. The error is therefore

    .. math:: \delta H \delta^\top \approx \sum_k \delta_k^2 / U_{kk}^2

    where :math:`\delta_k` are the errors of rounding the original weights to nearest.
    GPTQ changes the weights as it proceeds, and at 2 bits the changed weights are
    clipped more often, so the estimate is somewhat too low there. In addition, fewer
    clipping ranges are tried than in rounding (`CLIPS_TO_ESTIMATE`), which makes the
    errors somewhat too large, especially for rows with outliers.
    """
    settings = _settings(weight, group_size, second_moment, damp)
    total = torch.zeros(len(levels), len(weight))
    for rows in torch.arange(len(weight)).split(ROWS_AT_ONCE):
        first, last = int(rows[0]), int(rows[-1]) + 1
        columns = _columns(weight[first:last], group_size)  # [K', rows]
        for start in range(0, len(columns), group_size):
            group = columns[start : start + group_size].T  # [rows, G]
            importance = settings.importance[start : start + group_size]  # [G]
            extreme = extreme_weight(group)  # [rows], the same at every level
            for bits, errors in zip(levels, total, strict=True):
                half = torch.full_like(extreme, 2.0 ** (bits - 1))  # [rows]
                clips = CLIPS_TO_ESTIMATE[bits]
                _, error = best_scale(group, extreme, half, clips, importance)
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
    """The rounding settings shared by all rows.

    Attributes:
        importance: the cost of a squared error in each column, of shape `[K']`.
        lower: the Cholesky factor L of the damped H with both axes reversed, of shape
            `[K', K']`; None for rounding to nearest.
    """

    group_size: int
    importance: Tensor
    lower: Tensor | None = None


def _settings(
    weight: Tensor, group_size: int, second_moment: Tensor | None, damp: float
) -> _Settings:
    """Validate the arguments of `quantize` and factor the second moment."""
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
    # L has reversed axes, so 1 / U_kk is its diagonal read backwards: squared, it is the
    # conditional variance of input k, given the inputs of the later columns.
    lower = lower_factor(second_moment, padded, damp)
    return _Settings(group_size, lower.diagonal().flip(0).square().float(), lower)


def _columns(weight: Tensor, group_size: int) -> Tensor:
    """Return a padded and transposed copy of the weight, of shape `[K', N]`.

    The copy is contiguous, which makes access to its columns faster.
    """
    padded = pad_columns(weight.detach().float(), group_size)
    return padded.T.clone(memory_format=torch.contiguous_format)


def _round_rows(
    weight: Tensor, bits: Tensor, settings: _Settings, factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Round a chunk of rows, and return the codes and scales.

    The codes have shape `[N, K']`, and the scales have shape `[K' / G, N]`.
    """
    columns, half = _columns(weight, settings.group_size), 2.0 ** (bits - 1)
    clips = clips_per_row(bits)  # [tries, N]
    if factor is None:
        scales = _nearest(columns, half, clips, settings)
    else:
        size, importance = settings.group_size, settings.importance
        scales = gptq(columns, half, clips, size, importance, factor)
    # from signed codes, which both roundings write in place, to codes of at least 0
    codes = columns.add_(half).to(torch.uint8).T.contiguous()  # [N, K']
    return codes, torch.stack(scales).bfloat16()


def _nearest(
    W: Tensor, half: Tensor, clips: Tensor, settings: _Settings
) -> list[Tensor]:
    """Round `W`, of shape `[K', N]`, to signed codes in place and return the scales."""
    scales = []
    for start in range(0, len(W), settings.group_size):
        group = W[start : start + settings.group_size]  # [G, N]
        importance = settings.importance[start : start + settings.group_size]  # [G]
        scales.append(
            best_scale(group.T, extreme_weight(group.T), half, clips, importance)[0]
        )
        group.div_(scales[-1]).round_().clamp_(-half, half - 1)
    return scales
