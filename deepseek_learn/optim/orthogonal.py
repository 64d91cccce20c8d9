"""The update of a matrix: its momentum, with all singular values near one.

For :math:`M = U S V^T` the nearest semi-orthogonal matrix is :math:`U V^T`: every
direction that the gradients agree on moves equally far, even the weak ones. An odd
polynomial of :math:`M` acts only on the singular values, so a few polynomials in turn,
computed with matrix products alone, bring each value near one (Newton-Schulz; Jordan et
al. 2024, "Muon: An optimizer for hidden layers in neural networks").
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import torch
from torch import Tensor

# p(s) = a s + b s^3 + c s^5, each optimal for the output range of the one before it: the
# second to fifth of Amsel et al. 2025, "The Polar Express", arXiv 2505.16932,
# which are for values up to TOP. The first only lifts values that the
# Frobenius norm makes tiny; with a norm closer to the largest value it is not needed.
POLAR_EXPRESS = (
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
TOP = 1.93  # 1.97 minus what rounding in bfloat16 may add
WIDE = 2  # ratio of sides from which products over the shorter side alone are faster


def orthogonalize(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Orthogonalize matrices `[..., m, n]`: bring their singular values near one.

    The matrices are scaled by the norm :math:`(\sum_i s_i^4)^{1/4}`, the root of the
    Frobenius norm of :math:`X X^T`, which the first polynomial needs anyway: unlike the
    Frobenius norm of `X` it is close to the largest singular value, and never below it.

    Args:
        x: finite matrices; a zero matrix stays zero.
        dtype: the dtype to compute in; `torch.bfloat16` is faster where the processor
            supports it, and accurate enough for a direction.

    Returns:
        `[..., m, n]` in `dtype`. Singular values above 0.0042 of that norm end up
        between 0.84 and 1.16; smaller ones are scaled up in proportion.
    """
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(1e-20)
    tall, shape = x.shape[-2] > x.shape[-1], x.shape
    x = (x / norm).to(dtype).reshape(-1, *shape[-2:])  # [K, m, n]
    x = x.mT.contiguous() if tall else x  # products over the shorter side
    gram = torch.bmm(x, x.mT)  # [K, m, m]
    size = torch.linalg.vector_norm(gram, dim=(-2, -1), keepdim=True)
    scale = size.clamp_min(1e-20).reciprocal() * TOP**2
    x, gram = x.mul_(scale.sqrt()), gram.mul_(scale)
    if x.shape[2] >= WIDE * x.shape[1] and dtype != torch.bfloat16:
        x = torch.bmm(_factor(gram), x)
    else:
        for i, (a, b, c) in enumerate(POLAR_EXPRESS):
            gram = torch.bmm(x, x.mT) if i else gram
            p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, p, x, beta=a)  # a X + b X X^T X + c (X X^T)^2 X
    return (x.mT if tall else x).reshape(shape)


def _factor(gram: Tensor) -> Tensor:
    """Return the `Q [K, m, m]` for which `Q X` applies the polynomials to `X`.

    It is computed from `X X^T`, so no product involves the longer side ("The Polar
    Express", the appendix on rectangular matrices). Squares of small singular values
    require float32.
    """
    q = None
    for i, (a, b, c) in enumerate(POLAR_EXPRESS):
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal(dim1=-2, dim2=-1).add_(a)  # a I + b X X^T + c (X X^T)^2
        q = p if q is None else torch.bmm(p, q)
        if i + 1 < len(POLAR_EXPRESS):
            gram = torch.bmm(p, torch.bmm(p, gram))
    assert q is not None
    return q


def balance(update: Tensor, square: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    r"""Give each row of a tall matrix, or each column of a wide one, the same norm.

    .. math:: v \leftarrow \beta v + (1 - \beta)\,\mathrm{mean}(O^2), \quad
              O \leftarrow c\,O / \sqrt{v}

    with the mean along the shorter side and `c` such that the Frobenius norm is
    preserved (Li et al. 2025, "NorMuon", arXiv 2510.05491). The norms are equal on average
    over recent steps, because `v` is a moving average.

    Args:
        update: :math:`O`, `[..., m, n]` float32.
        square: :math:`v`, `[..., m, 1]` where `m >= n`, else `[..., 1, n]`.

    Returns:
        The balanced update and the new `square`.
    """
    shorter = -1 if update.shape[-2] >= update.shape[-1] else -2
    # squared lengths [..., m, 1] or [..., 1, n]; all norms follow from them
    lengths = update.square().sum(shorter, keepdim=True)
    square = square.lerp(lengths / update.shape[shorter], 1 - beta)
    inverse = square.clamp_min(1e-10).reciprocal()
    before, after = lengths.sum((-2, -1)), (lengths * inverse).sum((-2, -1))
    share = (before / after.clamp_min(1e-20))[..., None, None]
    return update * (share * inverse).sqrt(), square
