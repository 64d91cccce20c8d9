"""Compute a 3x3 convolution to one channel as the sum of nine shifted maps."""

import numpy as np
import torch
import torch.nn.functional as F

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "shift_sum")
    sides = rng.integers(2, 9, size=(6, 2)).tolist()
    sides[1:4] = [1, 1], [1, 5], [5, 1]  # mostly border
    for height, width in sides:
        batch, channels = int(rng.integers(1, 4)), int(rng.integers(1, 9))
        size = (batch, channels, height, width)
        x = torch.from_numpy(rng.normal(size=size)).float()
        kernel = torch.from_numpy(rng.normal(size=(1, channels, 3, 3))).float()
        want = F.conv2d(x, kernel, padding=1)  # [B, 1, H, W]
        pointwise = kernel[0].flatten(1).T[:, :, None, None]  # [9, C, 1, 1]
        taps = F.conv2d(x, pointwise)  # [B, 9, H, W]
        got = expect.call(answer, taps)
        compare(got, want, F.conv2d(x, kernel.flip((2, 3)), padding=1))


def compare(got, want: torch.Tensor, other_way: torch.Tensor) -> None:
    what = "shift_sum(taps)"
    values = expect.shape(got, want.shape, what)
    if np.allclose(values, other_way, atol=1e-4) and not np.allclose(
        values, want, atol=1e-4
    ):
        raise Failed("other_way")
    expect.close(values, want.numpy(), what, 1e-4)
