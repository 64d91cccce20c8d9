"""Orthogonalization of matrix updates.

If the momentum of a matrix is :math:`M = U S V^T`, the nearest semi-orthogonal matrix
is :math:`U V^T`. An update with this matrix moves equally far along every direction
that the gradients agree on, including the weak ones. An odd polynomial of :math:`M`
changes only the singular values. Applying a few such polynomials in sequence brings all
singular values close to one and requires only matrix products (Newton-Schulz; Jordan et
al. 2024, "Muon: An optimizer for hidden layers in neural networks").
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import torch
from torch import Tensor

# Coefficients (a, b, c) of p(s) = a s + b s^3 + c s^5. Each polynomial is optimal for
# the output range of the previous one. These are the second to fifth polynomials of
# Amsel et al. 2025, "The Polar Express", arXiv 2505.16932, and they apply to values up
# to TOP. The first polynomial of the paper only lifts the tiny values that result from
# dividing by the Frobenius norm, so a norm closer to the largest value makes it
# unnecessary.
POLAR_EXPRESS = (
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
TOP = 1.93  # 1.97 minus a margin for rounding in bfloat16
WIDE = 2  # aspect ratio from which it is faster to multiply along the shorter side only


def orthogonalize(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Orthogonalize matrices by bringing their singular values close to one.

    The matrices are divided by the norm :math:`(\sum_i s_i^4)^{1/4}`, which is the
    square root of the Frobenius norm of :math:`X X^T`, or of :math:`X^T X` if that is
    smaller. The first polynomial needs this product anyway. This norm is never smaller
    than the largest singular value, and it is closer to it than the Frobenius norm of
    `X`.

    Args:
        x: a tensor of finite matrices of shape `[..., m, n]`. Zero matrices stay zero.
        dtype: the dtype used for the computation. `torch.bfloat16` is faster on
            processors that support it, and it is accurate enough for an update
            direction.

    Returns:
        A tensor of shape `[..., m, n]` in `dtype`. Singular values above 0.0042 times
        the norm end up between 0.84 and 1.16. Smaller ones are scaled up
        proportionally.

    >>> import torch
    >>> from deepseek_learn.optim import orthogonalize
    >>> x = torch.randn(4, 6)
    >>> singular = torch.linalg.svdvals(orthogonalize(x))
    >>> bool((singular > 0.6).all() and (singular < 1.3).all())
    True
    """
    # 1. Divide by the Frobenius norm first: the product below may neither overflow nor
    # vanish, whatever the size of the gradients.
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(1e-20)
    tall, shape = x.shape[-2] > x.shape[-1], x.shape
    x = (x.to(dtype) / norm.to(dtype)).reshape(-1, *shape[-2:])  # [K, m, n]
    # 2. Scale so that the largest singular value is at most TOP, from the norm of X X^T.
    gram = _gram(x, tall)  # [K, m, m], or [K, n, n] if tall
    size = torch.linalg.vector_norm(gram, dim=(-2, -1), keepdim=True)
    scale = size.clamp_min(1e-20).reciprocal() * TOP**2  # [K, 1, 1], of squared values
    x, gram = x.mul_(scale.sqrt()), gram.mul_(scale)
    # 3. Long matrices: build one factor from X X^T, and multiply X by it once.
    if max(shape[-2:]) >= WIDE * min(shape[-2:]) and dtype != torch.bfloat16:
        q = _factor(gram)
        return (torch.bmm(x, q) if tall else torch.bmm(q, x)).reshape(shape)
    # 4. Others: apply the polynomials to X itself, which is safe in bfloat16.
    for i, (a, b, c) in enumerate(POLAR_EXPRESS):
        gram = _gram(x, tall) if i else gram
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        # a X + b X X^T X + c (X X^T)^2 X
        x = torch.baddbmm(x, *((x, p) if tall else (p, x)), beta=a)
    return x.reshape(shape)


def _gram(x: Tensor, tall: bool) -> Tensor:
    """Return the smaller of `X X^T` and `X^T X`, of shape `[K, m, m]`."""
    return torch.bmm(x.mT, x) if tall else torch.bmm(x, x.mT)


def _factor(gram: Tensor) -> Tensor:
    """Return `Q` such that `Q X`, or `X Q` for a tall `X`, applies the polynomials.

    `Q`, of shape `[K, m, m]` like `gram`, is computed from it alone, so none of the
    products involves the longer side ("The Polar Express", the appendix on rectangular
    matrices). The computation needs float32 because it squares small singular values.
    """
    q = None
    for i, (a, b, c) in enumerate(POLAR_EXPRESS):
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal(dim1=-2, dim2=-1).add_(a)  # a I + b X X^T + c (X X^T)^2
        q = p if q is None else torch.bmm(p, q)
        if i + 1 < len(POLAR_EXPRESS):  # X X^T of the next X = P X: P commutes with it
            gram = torch.bmm(p, torch.bmm(p, gram))
    assert q is not None
    return q


def balance(update: Tensor, square: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    r"""Equalize the row norms of tall matrices, or the column norms of wide ones.

    .. math:: v \leftarrow \beta v + (1 - \beta)\,\mathrm{mean}(O^2), \quad
              O \leftarrow c\,O / \sqrt{v}

    The mean is taken along the shorter side, and `c` is chosen to preserve the
    Frobenius norm (Li et al. 2025, "NorMuon", arXiv 2510.05491). Because `v` is a
    moving average, the norms are equal on average over recent steps rather than at each
    step.

    Args:
        update: the update :math:`O`, a float32 tensor of shape `[..., m, n]`.
        square: the moving average :math:`v`, of shape `[..., m, 1]` if `m >= n`, or
            `[..., 1, n]` otherwise.
        beta: the decay rate of the moving average.

    Returns:
        The balanced update and the new value of `square`.

    >>> import torch
    >>> from deepseek_learn.optim import balance
    >>> update = torch.diag(torch.tensor([3.0, 0.3]))
    >>> balanced, square = balance(update, torch.zeros(2, 1), beta=0.9)
    >>> balanced.norm(dim=1)
    tensor([2.1319, 2.1319])
    """
    shorter = -1 if update.shape[-2] >= update.shape[-1] else -2
    # squared lengths of shape [..., m, 1] or [..., 1, n], from which all norms follow
    lengths = update.square().sum(shorter, keepdim=True)
    square = square.lerp(lengths / update.shape[shorter], 1 - beta)
    inverse = square.clamp_min(1e-10).reciprocal()
    # both Frobenius norms from the lengths, so that no balanced copy is needed for them
    before, after = lengths.sum((-2, -1)), (lengths * inverse).sum((-2, -1))
    share = (before / after.clamp_min(1e-20))[..., None, None]
    return update * (share * inverse).sqrt(), square
