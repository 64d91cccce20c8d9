r"""GPTQ: rounding that compensates for its own errors.

Frantar et al. 2022, "GPTQ", arXiv 2210.17323.

It rounds column by column and spreads each column's error over the columns not yet
rounded, so that :math:`\|(W - \hat W) X\|` is small instead of :math:`\|W - \hat W\|`.
With H the second moment of the inputs and :math:`H^{-1} = U^\top U`, the best update of
the later columns for an error e in column k is :math:`-e\,U_{k,>k} / U_{kk}`.
Lesson: `notebooks/basic/03_quantization.ipynb`.
"""

import torch
from torch import Tensor

from .codes import best_scale, largest_weight

COLUMNS_AT_ONCE = 16  # GPTQ's block size; then errors go to the rest of the group


def lower_factor(second_moment: Tensor, padded: int, damp: float) -> Tensor:
    """Return the Cholesky factor L of the damped, reversed H, in float64.

    Padding columns get a second moment of 1.
    """
    H = torch.eye(padded, dtype=torch.float64)
    columns = len(second_moment)
    H[:columns, :columns] = second_moment.double()
    diagonal = H.diagonal()
    diagonal[:columns] += damp * diagonal[:columns].mean().item() + 1e-9
    return torch.linalg.cholesky(H.flip(0, 1))


def inverse_factor(lower: Tensor) -> Tensor:
    """Return GPTQ's upper factor U of H⁻¹ = Uᵀ U, in float32.

    With the reversed H = L Lᵀ, U is the reversed L⁻¹. Damping keeps the condition
    number of L below about √(K / damp), a few hundred, so float32 suffices.
    """
    eye = torch.eye(len(lower))
    return torch.linalg.solve_triangular(lower.float(), eye, upper=False).flip(0, 1)


def gptq(
    W: Tensor, half: Tensor, clips: Tensor, size: int, weights: Tensor, U: Tensor
) -> list[Tensor]:
    """Replace `W` `[K', N]` with its signed codes in place, and return the scales.

    `half` `[N]` is 2^(b-1), `clips` `[tries, N]` are the ranges to try, `size` is G,
    `weights` `[K']` are the costs of a squared error in each column, and `U` is the
    upper factor of H⁻¹.

    A column's error is divided by U_kk, multiplied by row k of U, and subtracted from
    the later columns: first from those of its block, then from those of its group, then
    from the rest. The delayed updates are matrix products, for speed.
    """
    diagonal, scales = U.diagonal().tolist(), []
    errors = W.new_empty(size, W.shape[1])  # [G, N]
    for start in range(0, len(W), size):
        # 1. Choose the group's scales [N] from the weights as updated so far.
        end = start + size
        group, importance = W[start:end].T, weights[start:end]
        scale, _ = best_scale(group, largest_weight(group), half, clips, importance)
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
