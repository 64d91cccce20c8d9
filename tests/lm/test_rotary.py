"""Rotary embedding against rotations in the complex plane and YaRN's own formulas."""

import math

import numpy as np
import pytest
import torch

from deepseek_learn.lm.rotary import angles, frequencies, mscale, rotate

BASE = 10_000.0
YARN = {"rope_theta": BASE, "rope_type": "yarn", "factor": 40.0}
YARN |= {"original_max_position_embeddings": 4096}


def by_multiplying(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Pairs (0, 1), (2, 3), ... of `x` `[B, T, H, d]` as complex numbers, rotated."""
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * turn)[:, :, None]
    return np.stack((turned.real, turned.imag), -1).reshape(x.shape)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)
def test_pairs_are_turned_as_complex_numbers(interleaved, dtype, slack):
    rng = np.random.default_rng(0)
    x, turn = rng.standard_normal((2, 3, 5, 8)), rng.uniform(-9, 9, (2, 3, 4))
    # channel 2 i and 2 i + 1 of a pair lie in i and i + 4 when they are not neighbors
    order = np.arange(8) if interleaved else np.arange(8).reshape(2, 4).T.flatten()
    expected = np.empty_like(x)
    expected[..., order] = by_multiplying(x[..., order], turn)
    x, cos, sin = (
        torch.tensor(n, dtype=dtype) for n in (x, np.cos(turn), np.sin(turn))
    )
    result = rotate(x, (cos, sin), interleaved)
    np.testing.assert_allclose(result, expected, rtol=slack, atol=slack)
    one_key = rotate(x[:, :, 0], (cos, sin), interleaved)  # [B, T, d]
    np.testing.assert_allclose(one_key, expected[:, :, 0], rtol=slack, atol=slack)
    padded = torch.nn.functional.pad(x, (1, 2))  # a slice that starts at an odd channel
    assert torch.equal(rotate(padded[..., 1:-2], (cos, sin), interleaved), result)
    if interleaved:
        assert torch.equal(rotate(x, (cos, sin)), result)


@pytest.mark.parametrize("dim", [2, 6, 16])
def test_a_position_turns_pair_i_by_the_base_to_the_minus_2_i_over_d(dim):
    expected = BASE ** (-2 * np.arange(dim // 2) / dim)
    theta, scale = frequencies(dim, {"rope_theta": BASE})
    assert scale == 1.0
    np.testing.assert_allclose(theta, expected, rtol=1e-5)
    positions = torch.tensor([[0, 1, 7], [2, 3, 500]])
    cos, sin = angles(positions, dim, {"rope_theta": BASE})
    turn = positions.numpy()[..., None] * expected
    # float32: an angle of up to 500 is off by 500 x 2^-23 and a few roundings
    np.testing.assert_allclose(cos, np.cos(turn), atol=5e-4)
    np.testing.assert_allclose(sin, np.sin(turn), atol=5e-4)


def ramp_of_yarn(dim: int, base: float, trained: int, fast: float, slow: float):
    """Fraction of the interpolated angle, 0 for fast pairs to 1 for slow ones `[d/2]`."""
    # pair i makes L base^(-2 i / d) / (2 pi) turns over the trained length L
    turns = lambda i: trained * base ** (-2 * i / dim) / (2 * math.pi)  # noqa: E731
    ends = range(-4 * dim, 4 * dim)
    low = max((i for i in ends if turns(i) >= fast), default=0)
    high = min((i for i in ends if turns(i) <= slow), default=dim - 1)
    low, high = max(low, 0), min(high, dim - 1)
    return np.clip((np.arange(dim // 2) - low) / max(high - low, 1e-9), 0, 1)


@pytest.mark.parametrize("betas", [{}, {"beta_fast": 8, "beta_slow": 2}])
@pytest.mark.parametrize(
    ("dim", "base", "trained"),
    [
        (64, BASE, 4096),
        (16, BASE, 4096),
        (16, BASE, 64),
        (8, 10.0, 4096),
        (8, 3.0, 300),
        (128, 10.0, 400),
    ],
)
def test_yarn_slows_the_slow_pairs_down(dim, base, trained, betas):
    options = YARN | betas | {"rope_theta": base}
    theta, _ = frequencies(dim, options | {"original_max_position_embeddings": trained})
    fast, slow = betas.get("beta_fast", 32), betas.get("beta_slow", 1)
    share = ramp_of_yarn(dim, base, trained, fast, slow)
    plain = base ** (-2 * np.arange(dim // 2) / dim)
    expected = plain / 40 * share + plain * (1 - share)
    np.testing.assert_allclose(theta, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 0.1 * math.log(40) + 1),
        ({"factor": 1.0}, 1.0),
        ({"attention_factor": 1.7, "mscale": 0.5, "mscale_all_dim": 1.0}, 1.7),
        ({"mscale": 0.5}, 0.1 * math.log(40) + 1),
        ({"mscale_all_dim": 0.5}, 0.1 * math.log(40) + 1),
        (
            {"mscale": 0.707, "mscale_all_dim": 0.5},
            (0.0707 * math.log(40) + 1) / (0.05 * math.log(40) + 1),
        ),
    ],
)
def test_yarn_scales_cosine_and_sine(options, scale):
    assert frequencies(8, YARN | options)[1] == pytest.approx(scale, rel=1e-12)
    cos, sin = angles(torch.tensor([[0, 5]]), 8, YARN | options)
    assert cos[0, 0].tolist() == pytest.approx([scale] * 4)  # cos 0 = 1
    lengths = (cos.square() + sin.square()).sqrt()
    assert lengths.flatten().tolist() == pytest.approx([scale] * 8)


def test_the_temperature_starts_at_one():
    assert mscale(1.0) == mscale(0.5) == mscale(1.0, 3.0) == 1.0
    assert mscale(math.e, 2.0) == pytest.approx(1.2)
