"""Fold a 3x3 gate into the 1x1 convolution before it, exactly even at the border."""

import torch
import torch.nn.functional as F

from deepseek_learn.attention import shift_sum
from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TOLERANCE = 1e-4  # the answer may compute in float32: about 500 products of size 1


def check(answer, rng) -> None:
    expect.function(answer, "fold_gate")

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    for trial in range(5):
        inner, outer = int(rng.integers(1, 6)), int(rng.integers(2, 12))
        if trial == 2:
            inner = outer = 1
        height, width = (int(n) for n in rng.integers(3, 8, size=2))
        x = draw(2, inner, height, width)
        layers = draw(outer, inner), draw(outer), draw(1, outer, 3, 3)
        want = reference(x, *layers)
        folded = expect.call(answer, *layers)
        weight, bias = expect.parts(folded, 2, "fold_gate(...)")
        compare(weight, bias, x.double(), want)


def reference(x, weight, bias, kernel) -> torch.Tensor:
    """Apply the 1x1 convolution, then the gate, in float64; return `[B, 1, H, W]`."""
    wide = F.conv2d(x.double(), weight.double()[:, :, None, None], bias.double())
    return F.conv2d(wide, kernel.double(), padding=1)


def compare(tap_weight, tap_bias, x: torch.Tensor, want: torch.Tensor) -> None:
    pointwise = read(tap_weight, (9, x.shape[1]), "fold_gate(...)[0]")
    taps = F.conv2d(  # [B, 9, H, W]
        x, pointwise[:, :, None, None], read(tap_bias, (9,), "fold_gate(...)[1]")
    )
    got = shift_sum(taps)
    error = (got - want).abs()
    inside = error[:, :, 1:-1, 1:-1].max().item()
    rounding = TOLERANCE * max(1.0, want.abs().max().item())
    if inside <= rounding < error.max().item():
        raise Failed("border", error=error.max().item())
    expect.close(got, want, "shift_sum(taps)", TOLERANCE)


def read(got, shape: tuple[int, ...], what: str) -> torch.Tensor:
    return torch.from_numpy(expect.shape(got, shape, what))
