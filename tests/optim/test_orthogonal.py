"""Orthogonalization against the singular value decomposition in float64."""

import pytest
import torch

from deepseek_learn.optim import balance, orthogonalize
from deepseek_learn.optim.orthogonal import POLAR_EXPRESS, TOP


def composed(s: torch.Tensor) -> torch.Tensor:
    """The polynomials applied in turn to singular values."""
    for a, b, c in POLAR_EXPRESS:
        s = a * s + b * s**3 + c * s**5
    return s


def test_the_polynomials_bring_what_is_not_tiny_near_one():
    s = torch.linspace(0.0042 * TOP, TOP * 1.02, 100001, dtype=torch.float64)
    assert composed(s).min() > 0.84
    assert composed(s).max() < 1.16


@pytest.mark.parametrize("shape", [(7, 7), (5, 40), (40, 5), (3, 16, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_polynomial_of_the_singular_values(shape, dtype):
    """`U S V^T` becomes `U p(S) V^T`, with `U`, `S`, `V` decomposed in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    norm = s.pow(4).sum(-1, keepdim=True).pow(0.25)
    expected = composed(TOP * s / norm)
    result = orthogonalize(x.float(), dtype)
    assert result.dtype == dtype
    # bfloat16 rounds each of 12 products by 2^-9; the polynomials' slopes enlarge it
    slack = 1e-4 if dtype == torch.float32 else 0.15
    error = result.double() - u * expected[..., None, :] @ vh
    assert torch.linalg.matrix_norm(error, 2).max() < slack


def test_a_wide_matrix_with_tiny_singular_values_stays_near_its_polynomial():
    """Products of `X X^T` hold squares: 1e-6 is lost in float32."""
    generator = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(16, 16, generator=generator).double())[0]
    v = torch.linalg.qr(torch.randn(144, 16, generator=generator).double())[0]
    s = torch.logspace(0, -6, 16, dtype=torch.float64)
    expected = u * composed(TOP * s / s.pow(4).sum() ** 0.25) @ v.mT
    x = ((u * s) @ v.mT).float()
    for result in (orthogonalize(x), orthogonalize(x.mT).mT):
        assert torch.linalg.matrix_norm(result.double() - expected, 2) < 2e-3


def test_the_scale_of_the_input_does_not_matter():
    x = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    expected = orthogonalize(x)
    for scale in (1e-12, 1e12):
        torch.testing.assert_close(orthogonalize(x * scale), expected)


def test_zeros_stay_zeros_and_a_batch_is_its_matrices():
    assert not orthogonalize(torch.zeros(4, 3)).any()
    x = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(2))
    x[1] = 0
    for one, both in zip(x, orthogonalize(x), strict=True):
        torch.testing.assert_close(orthogonalize(one), both)


def test_balance_gives_each_row_or_column_the_same_share():
    o = torch.randn(12, 5, generator=torch.Generator().manual_seed(3))
    o[0] *= 50
    balanced, square = balance(o, torch.zeros(12, 1), beta=0.9)
    share = balanced.square().mean(1)
    torch.testing.assert_close(share, share.mean().expand(12))
    torch.testing.assert_close(balanced.norm(), o.norm())
    torch.testing.assert_close(square, 0.1 * o.square().mean(1, keepdim=True))
    # for a wide matrix, the columns
    balanced, square = balance(o.T.contiguous(), torch.zeros(1, 12), beta=0.9)
    assert square.shape == (1, 12)
    torch.testing.assert_close(balanced.square().mean(0).var(), torch.tensor(0.0))
