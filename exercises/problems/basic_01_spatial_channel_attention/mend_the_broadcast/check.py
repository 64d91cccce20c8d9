"""The guide's `forward` broadcasts four axes to six; the learner fixes it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "SpatialChannelAttention")
    for trial in range(4):
        batch, channels = int(rng.integers(2, 5)), int(rng.integers(8, 32))
        height, width = (int(n) for n in rng.integers(3, 9, size=2))
        if trial == 0:  # enough hidden channels that some are active and gates differ
            batch, channels = 4, 128
        if trial == 1:  # axes of length one
            batch, height, width = 1, 1, 1
        if trial == 2:  # equal axes: a gate may broadcast along the wrong one
            batch = height = width = channels = 8
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            module = expect.call(answer, channels)
        size = (
            rng.normal(size=(batch, 1, 1, 1))
            + 2 * np.arange(batch)[:, None, None, None]
        )
        x = rng.normal(size=(batch, channels, height, width)) + size
        x = torch.from_numpy(x).float()
        want = reference(module, x)
        got = expect.call(module, x)
        expect.close(got, want, "module(x)")
        if not learns(module, got):
            raise Failed("gradient")


@torch.no_grad()
def reference(module, x: torch.Tensor) -> torch.Tensor:
    """Compute the output from the learner's weights, without running its `forward`."""
    if not isinstance(module, nn.Module):
        raise Failed("parameters")
    weights = expect.call(lambda: dict(module.state_dict()))
    kernel, bias, w1, b1, w2, b2 = read(weights, channels=x.shape[1])
    spatial = torch.sigmoid(F.conv2d(x, kernel, bias, padding=1))  # [B, 1, H, W]
    hidden = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), w1, b1))
    channel = torch.sigmoid(F.conv2d(hidden, w2, b2))  # [B, C, 1, 1]
    return x * (spatial + channel)


def learns(module: nn.Module, got: torch.Tensor) -> bool:
    """Return whether each of the six parameters gets a gradient."""
    named = dict(module.named_parameters())
    parameters = [named[key] for key in KEYS if key in named]
    if len(parameters) < len(KEYS) or not got.requires_grad:
        return False
    gradients = torch.autograd.grad(got.sum(), parameters, allow_unused=True)
    return all(gradient is not None for gradient in gradients)


def read(weights: dict, channels: int) -> list[torch.Tensor]:
    """Return the six parameters of `KEYS`; only the hidden width may vary."""
    if not weights.keys() >= set(KEYS):
        raise Failed("parameters")
    hidden = expect.numbers(weights[KEYS[3]], KEYS[3]).size
    shapes = [(1, channels, 3, 3), (1,), (hidden, channels, 1, 1), (hidden,)]
    shapes += [(channels, hidden, 1, 1), (channels,)]
    return [
        torch.from_numpy(expect.shape(weights[key], shape, key)).float()
        for key, shape in zip(KEYS, shapes, strict=True)
    ]


LAYER_NAMES = ("spatial_attn", "channel_attn.1", "channel_attn.3")
KEYS = [f"{layer}.{kind}" for layer in LAYER_NAMES for kind in ("weight", "bias")]
