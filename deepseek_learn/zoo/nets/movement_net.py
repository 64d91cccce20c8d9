"""A small network that reads movements from a window of acceleration and rotation."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW, SMOOTH = 128, 25  # samples of a window; of the moving average that is gravity
BANDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 40, 64)  # limits in multiples of 50 / 128 Hz
PAIRS = [(i, j) for i in range(6) for j in range(i)]


def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Return the windowed cosines and sines `[128, 63]`, and the bands `[63, 10]`."""
    count = WINDOW // 2 - 1
    angle = 2 * math.pi / WINDOW * torch.arange(WINDOW)[:, None]
    angle = angle * torch.arange(1, count + 1)
    hann = torch.hann_window(WINDOW, periodic=False)[:, None]
    bands = torch.zeros(count, len(BANDS) - 1)
    for place, (low, high) in enumerate(pairwise(BANDS)):
        bands[low - 1 : high - 1, place] = 1
    return hann * angle.cos(), hann * angle.sin(), bands


TABLES = _tables()  # no buffers: they are not part of the weights


class WindowStatistics(nn.Module):
    r"""What engineers compute from such a window, as one differentiable layer.

    The eight channels are the six signals and the magnitudes of acceleration and rotation.
    Of each: mean, deviation, extremes, mean absolute deviation, deviation of the
    differences, and the logarithm of the power in ten bands (a Hann window, then a discrete
    Fourier transform). Also the direction of gravity and how it moves within the window,
    the deviation of the acceleration without gravity, and the correlations of all pairs of
    signals.

    It has no parameters: `[B, 6, 128]` → `[B, 155]`.
    """

    size = 155

    def forward(self, x: Tensor) -> Tensor:
        acceleration, rotation = x[:, :3], x[:, 3:]
        magnitudes = [_length(each) for each in (acceleration, rotation)]
        channels = torch.cat([x, *magnitudes], 1)  # [B, 8, 128]
        around = (SMOOTH // 2, SMOOTH // 2)
        padded = F.pad(acceleration, around, mode="replicate")
        gravity = F.avg_pool1d(padded, SMOOTH, 1)
        every = torch.cat([channels, acceleration - gravity], 1)
        steps = channels[:, :, 1:] - channels[:, :, :-1]
        mean = channels.mean(2)
        centered = channels - mean[:, :, None]
        late, early = (part.mean(2) for part in gravity.split(WINDOW // 2, 2)[::-1])
        cosines, sines, bands = (each.to(x.device) for each in TABLES)
        power = (centered @ cosines).square() + (centered @ sines).square()
        parts = [
            mean,
            mean[:, :3] / _length(mean[:, :3]),
            (_variance(every) + 1e-5).log(),
            (_variance(steps) + 1e-6).log(),
            (centered.abs().mean(2) + 1e-3).log(),
            channels.amax(2),
            channels.amin(2),
            gravity[:, :, -1] - gravity[:, :, 0],
            late - early,
            (power @ bands + 1e-3).log().flatten(1),
            _correlations(centered[:, :6]),
        ]
        return torch.cat(parts, 1)


def _length(x: Tensor) -> Tensor:
    return (x.square().sum(1, keepdim=True) + 1e-8).sqrt()


def _variance(x: Tensor) -> Tensor:
    return (x - x.mean(2, keepdim=True)).square().mean(2)


def _correlations(centered: Tensor) -> Tensor:
    covariance = centered @ centered.transpose(1, 2) / WINDOW  # [B, 6, 6]
    deviation = (centered.square().mean(2) + 1e-4).sqrt()
    scaled = covariance / (deviation[:, :, None] * deviation[:, None, :])
    return torch.stack([scaled[:, i, j] for i, j in PAIRS], 1)


class MovementNet(nn.Module):
    """Statistics of a window, and two hidden layers on top.

    Attributes:
        body: the layers up to the embedding, in which a new wearer's examples are
            compared.
    """

    def __init__(self, classes: int = 12, width: int = 128, dropout: float = 0.3):
        super().__init__()
        statistics = WindowStatistics()
        self.body = nn.Sequential(
            statistics,
            nn.BatchNorm1d(statistics.size),
            nn.Dropout(0.1),
            *_hidden(statistics.size, width, dropout),
            *_hidden(width, width, dropout),
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, `[B, 6, 128]` → `[B, 12]`."""
        return self.head(self.body(x))


def _hidden(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    linear = nn.Linear(inputs, outputs)
    return [linear, nn.BatchNorm1d(outputs), nn.SiLU(), nn.Dropout(dropout)]
