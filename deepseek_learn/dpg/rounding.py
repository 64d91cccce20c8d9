r"""Rounding a matrix to b-bit codes with one scale a group, plainly or calibrated.

A row is cut into groups of G weights. A code :math:`q \in [0, 2^b - 1]` stands for

.. math:: \hat w = s\,(q - 2^{b-1})

with a bfloat16 scale s a group. Rounding to nearest errs by at most s/2 inside the
range. GPTQ (Frantar et al. 2022, arXiv 2210.17323) rounds column by column and spreads
each column's error over those not yet rounded, so that :math:`\|(W - \hat W) X\|` is
small instead of :math:`\|W - \hat W\|`. Lesson: `notebooks/basic/03_quantization.ipynb`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .matrix import check_finite, pad_columns

BITS = (2, 3, 4, 5, 6, 8)
CLIPS = {  # bits → ranges tried, as shares of a group's largest weight
    2: (1.0, 0.78, 0.68, 0.6, 0.52),
    3: (1.0, 0.92, 0.85, 0.78, 0.7),
    4: (1.0, 0.95, 0.9, 0.85, 0.78),
    5: (1.0, 0.95, 0.9),
    6: (1.0, 0.95),
    8: (1.0,),  # steps are fine: clipping only harms
}
CLIPS_TO_ESTIMATE = {  # those that `output_errors` tries: half of the work
    2: (0.78, 0.6),
    3: (0.92, 0.78),
    4: (1.0, 0.9),
    5: (1.0, 0.95),
    6: (1.0,),
    8: (1.0,),
}
ROWS_AT_ONCE = 4096  # a group of so many rows stays in the processor's cache
COLUMNS_AT_ONCE = 16  # of GPTQ: then their errors go to the rest of the group


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
        """The matrix that the codes stand for, float32 `[N, K]`."""
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
        bits: one of 2, 3, 4, 5, 6, 8 for all rows, or one a row `[N]`.
        group_size: weights that share a scale.
        second_moment: `[K, K]`, E[x xᵀ] of the layer's inputs. Its diagonal alone `[K]`:
            round to nearest, the scales chosen by it. None: all inputs count alike.
        damp: share of the mean diagonal that is added to it (GPTQ).

    Raises:
        ValueError: for a weight that is no finite matrix, bits that are none of these,
            no group size, or a second moment of another size or not finite.
    """
    facts = _checked(weight, group_size, second_moment, damp)
    bits, parts = _bits_a_row(bits, len(weight)), []
    factor = None if facts.lower is None else _inverse(facts.lower)
    for some, of_some in zip(
        weight.split(ROWS_AT_ONCE), bits.split(ROWS_AT_ONCE), strict=True
    ):
        parts.append(_rounded(some, of_some, facts, factor))
    codes, scales = (list(part) for part in zip(*parts, strict=True))
    return Codes(torch.cat(codes), torch.cat(scales, 1), bits, weight.shape[1])


def output_error(codes: Codes, weight: Tensor, second_moment: Tensor | None) -> Tensor:
    """E[((w - ŵ)·x)²] of each row, `[N]`: what rounding does to a neuron's output."""
    difference = weight.float() - codes.dequantize()
    if second_moment is None:
        return difference.square().sum(1)
    if second_moment.dim() == 1:  # the inputs are taken to be uncorrelated
        return difference.square() @ second_moment
    return ((difference @ second_moment) * difference).sum(1).clamp(min=0)


def output_errors(
    weight: Tensor,
    levels: tuple[int, ...],
    group_size: int,
    second_moment: Tensor | None,
    damp: float = 0.01,
) -> Tensor:
    r"""`output_error` to expect of each row at each of `levels` bits, `[levels, N]`.

    It is that of rounding to nearest. With correlations, it estimates GPTQ's: what a
    column's error costs once the later columns have made up for it is the variance
    :math:`1 / U_{kk}^2` of its input given theirs, and so

    .. math:: \delta H \delta^\top \approx \sum_k \delta_k^2 / U_{kk}^2

    with the errors of rounding to nearest, as if weights did not move meanwhile. At 2
    bits, where the moved weights are clipped more often, it is somewhat too low. Fewer
    shares are tried than in rounding (`CLIPS_TO_ESTIMATE`), so that errors come out
    somewhat too large, most of all for rows with outliers.
    """
    facts = _checked(weight, group_size, second_moment, damp)
    total = torch.zeros(len(levels), len(weight))
    for rows in torch.arange(len(weight)).split(ROWS_AT_ONCE):
        first, last = int(rows[0]), int(rows[-1]) + 1
        columns = _columns(weight[first:last], group_size)
        for start in range(0, len(columns), group_size):
            group = columns[start : start + group_size].T
            importance = facts.importance[start : start + group_size]
            largest = _largest(group)
            for bits, errors in zip(levels, total, strict=True):
                half = torch.full_like(largest, 2.0 ** (bits - 1))
                clips = CLIPS_TO_ESTIMATE[bits]
                found = _search(group, largest, half, clips, importance)
                errors[first:last] += found[1]
    return total


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


def _largest(group: Tensor) -> Tensor:
    return group.abs().amax(1).clamp(min=1e-9)


def _search(group, largest, half, clips, importance) -> tuple[Tensor, Tensor]:
    """The scales of a group `[N, G]` with the smallest square error, and it, `[N]`.

    Tried are shares, `clips`, of a group's largest weight as its range, the error of
    each weight counted by `importance` `[G]`. Scales are bfloat16 values.
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
    """The shares that each row tries, `[tries, N]`; shorter lists begin again."""
    present, which = bits.unique(return_inverse=True)
    lists = [CLIPS[b] for b in present.tolist()]
    tries = range(max(map(len, lists)))
    return torch.tensor([[each[i % len(each)] for each in lists] for i in tries])[
        :, which
    ]


def round_to(weight: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    """The nearest code, as a float: w / s rounded, from -2^(b-1) on, plus 2^(b-1)."""
    return (weight / scale).round().clamp(-half, half - 1) + half


@dataclass(frozen=True)
class _Facts:
    """What rounding a matrix needs beside its rows.

    Attributes:
        importance: `[K']`, what a square error of each column costs.
        lower: the Cholesky factor L `[K', K']` of the damped H with rows and columns in
            reverse order, or None: round to nearest.
    """

    group_size: int
    importance: Tensor
    lower: Tensor | None = None


def _checked(weight, group_size, second_moment, damp) -> _Facts:
    if weight.dim() != 2 or not weight.numel():
        raise ValueError(f"weight must be a matrix [N, K]; got {list(weight.shape)}.")
    if not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"group_size must be a number of weights; got {group_size!r}.")
    check_finite(weight, "weight")
    columns = weight.shape[1]
    padded = columns + -columns % group_size
    if second_moment is None:
        return _Facts(group_size, torch.ones(padded))
    if second_moment.shape not in ((columns, columns), (columns,)):
        raise ValueError(
            f"second_moment must be [K, K] with K = {columns}, or its diagonal [K]; got "
            f"{list(second_moment.shape)}."
        )
    check_finite(second_moment, "second_moment")
    if second_moment.dim() == 1:
        return _Facts(group_size, pad_columns(second_moment[None], group_size)[0])
    lower = _lower(second_moment, padded, damp)
    return _Facts(group_size, lower.diagonal().flip(0).square().float(), lower)


def _lower(second_moment: Tensor, padded: int, damp: float) -> Tensor:
    """L of the damped H in reverse order, float64; padding counts as unit inputs."""
    H = torch.eye(padded, dtype=torch.float64)
    columns = len(second_moment)
    H[:columns, :columns] = second_moment.double()
    diagonal = H.diagonal()
    diagonal[:columns] += damp * diagonal[:columns].mean().item() + 1e-9
    return torch.linalg.cholesky(H.flip(0, 1))


def _inverse(lower: Tensor) -> Tensor:
    """GPTQ's upper factor U of H⁻¹ = Uᵀ U, float32: with H = L Lᵀ reversed, U = L⁻¹.

    Damping keeps L's condition below about √(K / damp), a few hundred: float32 will do.
    """
    eye = torch.eye(len(lower))
    return torch.linalg.solve_triangular(lower.float(), eye, upper=False).flip(0, 1)


def _columns(weight: Tensor, group_size: int) -> Tensor:
    """`[N, K]` padded, and turned for speed: a copy `[K', N]`."""
    exact = pad_columns(weight.detach().float(), group_size)
    return exact.T.clone(memory_format=torch.contiguous_format)


def _rounded(weight: Tensor, bits: Tensor, facts: _Facts, factor: Tensor | None):
    """Codes `[N, K']` and scales `[K' / G, N]` of some rows."""
    columns, half = _columns(weight, facts.group_size), 2.0 ** (bits - 1)
    clips = _clips(bits)
    if factor is None:
        scales = _nearest(columns, half, clips, facts)
    else:
        scales = _gptq(columns, half, clips, facts, factor)
    codes = columns.add_(half).to(torch.uint8).T.contiguous()
    return codes, torch.stack(scales).bfloat16()


def _nearest(W: Tensor, half: Tensor, clips: Tensor, facts: _Facts) -> list[Tensor]:
    """`W` `[K', N]` becomes its codes, zero in the middle; returns the scales."""
    scales = []
    for start in range(0, len(W), facts.group_size):
        group = W[start : start + facts.group_size]
        importance = facts.importance[start : start + facts.group_size]
        scales.append(_search(group.T, _largest(group.T), half, clips, importance)[0])
        group.div_(scales[-1]).round_().clamp_(-half, half - 1)
    return scales


def _gptq(W: Tensor, half: Tensor, clips: Tensor, facts: _Facts, U: Tensor):
    """`W` `[K', N]` becomes its codes, zero in the middle; returns the scales."""
    size, steps, scales = facts.group_size, U.diagonal().tolist(), []
    errors = W.new_empty(size, W.shape[1])
    for start in range(0, len(W), size):
        end = start + size
        group, importance = W[start:end].T, facts.importance[start:end]
        scale, _ = _search(group, _largest(group), half, clips, importance)
        scales.append(scale)
        for first in range(start, end, COLUMNS_AT_ONCE):
            last = min(first + COLUMNS_AT_ONCE, end)
            for k in range(first, last):
                code = (W[k] / scale).round_().clamp_(-half, half - 1)
                error = errors[k - start]
                torch.addcmul(W[k], code, scale, value=-1, out=error)
                error /= steps[k]
                W[k + 1 : last].addr_(U[k, k + 1 : last], error, alpha=-1)
                W[k] = code
            of_block = errors[first - start : last - start]
            W[last:end].addmm_(U[first:last, last:end].T, of_block, alpha=-1)
        W[end:].addmm_(U[start:end, end:].T, errors, alpha=-1)
    return scales
