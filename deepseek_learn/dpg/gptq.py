r"""GPTQ: post-training quantization that compensates for rounding errors.

Frantar et al. 2022, "GPTQ", arXiv 2210.17323.

The algorithm rounds one column at a time and spreads the error of each column over the
columns that have not been rounded yet. It therefore keeps :math:`\|(W - \hat W) X\|`
small instead of :math:`\|W - \hat W\|`. Let H be the second moment of the inputs, and
let :math:`H^{-1} = U^\top U`. For an error e in column k, the optimal update of the
later columns is :math:`-e\,U_{k,>k} / U_{kk}`.

Lesson: `notebooks/basic/03_quantization.ipynb`.
"""

import torch
from torch import Tensor

from .codes import best_scale, extreme_weight

COLUMNS_AT_ONCE = 16  # the block size of GPTQ
SMALL = 128  # the size up to which a triangular matrix is inverted directly


def lower_factor(second_moment: Tensor, padded: int, damp: float) -> Tensor:
    """Compute the Cholesky factor L of H after damping it and reversing its axes.

    The factor is in float64. The second moment of padding columns is set to 1.
    """
    H = torch.eye(padded, dtype=torch.float64)
    columns = len(second_moment)
    H[:columns, :columns] = second_moment.double()
    diagonal = H.diagonal()
    diagonal[:columns] += damp * diagonal[:columns].mean().item() + 1e-9
    return torch.linalg.cholesky(H.flip(0, 1))


def inverse_factor(lower: Tensor) -> Tensor:
    """Compute the upper triangular factor U of H⁻¹ = Uᵀ U in float32.

    If L is the Cholesky factor of the reversed H, then U is the inverse of L with both
    axes reversed. Damping keeps the condition number of L below about √(K / damp),
    which is a few hundred, so float32 is precise enough.
    """
    return _inverse(lower.float()).flip(0, 1)


def _inverse(lower: Tensor) -> Tensor:
    """Invert a lower triangular matrix by halves: matrix products do most of the work."""
    n = len(lower)
    if n <= SMALL:
        return torch.linalg.solve_triangular(lower, torch.eye(n), upper=False)
    half, inverse = n // 2, torch.zeros_like(lower)
    first = inverse[:half, :half].copy_(_inverse(lower[:half, :half]))
    last = inverse[half:, half:].copy_(_inverse(lower[half:, half:]))
    inverse[half:, :half] = -(last @ (lower[half:, :half] @ first))
    return inverse


def gptq(
    W: Tensor, half: Tensor, clips: Tensor, size: int, weights: Tensor, U: Tensor
) -> list[Tensor]:
    """Round `W` to signed codes in place, and return the scales for each group.

    The error of each column is divided by U_kk, multiplied by row k of U, and
    subtracted from the later columns. The update is applied first to the columns of the
    same block, then to the rest of the group, and finally to all remaining columns.
    Delaying the updates turns them into matrix products, which are faster.

    Args:
        W: the transposed weights, of shape `[K', N]`.
        half: 2^(b-1) for each row, of shape `[N]`.
        clips: the clipping ranges to try, of shape `[tries, N]`.
        size: the group size G.
        weights: the cost of a squared error in each column, of shape `[K']`.
        U: the upper triangular factor of H⁻¹.
    """
    diagonal, scales = U.diagonal().tolist(), []
    errors = W.new_empty(size, W.shape[1])  # [G, N]
    for start in range(0, len(W), size):
        # 1. Choose the group's scales [N] from the weights as updated so far.
        end = start + size
        group, importance = W[start:end].T, weights[start:end]
        scale, _ = best_scale(group, extreme_weight(group), half, clips, importance)
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
