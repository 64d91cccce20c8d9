"""A small segmenter with SC-attention, trained on good parts and synthetic defects.

Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...attention import attach
from ...optim import DeepOpt
from ...training import Fit, Recipe, cosine, fit
from ...zoo.nets.unet import UNet
from .synthetic import spoil

ATTENDED = ["down.1", "down.2", "bottleneck", "join.0", "join.1"]
STEPS, BATCH, LR = 1200, 8, 3e-3
TEMPERATURE = 4.0
DEGREES, ZOOM, GAMMA = 8.0, (0.85, 1.4), (0.8, 1.25)


class DefectSegmenter(nn.Module):
    """A small U-Net with attention; its map says where a defect is.

    It maps images of shape `[B, 1, H, W]` with values from 0 to 1 to scores from 0 to 1 of
    shape `[B, H, W]`: `sigmoid(logit / 4)`, since the probability itself rounds to 1 for
    many defects, which can then not be ranked. H and W must be multiples of 16. Four
    neighboring pixels become four channels (and vice versa at the end), which quarters the
    work and keeps defects that are one pixel wide. Attention follows each pair of
    convolutions except at the highest resolution, where it would double the time of the
    network.

    Args:
        attention: the name of the attention module; None for none.
    """

    def __init__(self, width: int = 16, attention: str | None = "sc"):
        super().__init__()
        self.unet = UNet(in_channels=4, out_channels=4, width=width, depth=3)
        if attention is not None:
            attach(self.unet, attention, where=ATTENDED, identity=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the score of each pixel; the logit of "defect" when training."""
        x = F.pixel_unshuffle(x - 0.5, 2)  # [B, 4, H/2, W/2]
        logits = F.pixel_shuffle(self.unet(x), 2)[:, 0]
        return logits if self.training else (logits / TEMPERATURE).sigmoid()


class SpoiledParts(Dataset):
    """Examples made from good parts: three in four have synthetic defects.

    The parts are flipped and lit at random, and three in four are seen from a slightly
    different angle and distance, as on another day of the line. One in four stays good, so
    that a segmenter also learns to leave good parts alone. An index always gives the same
    example.

    Args:
        good: good parts, of shape `[N, H, W]` with values from 0 to 1.
        length: the number of examples.
        seed: the seed of all examples.
    """

    def __init__(self, good: np.ndarray, length: int, seed: int = 0):
        self.good, self.length, self.seed = good, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self._example(index)
        return torch.from_numpy(image)[None], torch.from_numpy(mask)

    def batch(self, index: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Return images of shape `[B, 1, H, W]` and masks of shape `[B, H, W]`."""
        pairs = [self._example(int(i)) for i in index]
        images, masks = (np.stack(each) for each in zip(*pairs, strict=True))
        return torch.from_numpy(images)[:, None], torch.from_numpy(masks)

    def _example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, index])
        image = self.good[rng.integers(len(self.good))]
        mask = np.zeros(image.shape, bool)
        if rng.random() < 0.75:
            image = _another_view(image, rng)
        if rng.random() < 0.75:
            image, mask = spoil(image, rng, self.good)
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        lit = image * rng.uniform(0.9, 1.1) + rng.uniform(-0.05, 0.05)
        return lit.clip(0, 1).astype("float32"), mask.astype("float32")


def _another_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part turned, at another distance and with another gamma."""
    angle, zoom = np.deg2rad(rng.uniform(-DEGREES, DEGREES)), rng.uniform(*ZOOM)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    grid = F.affine_grid(
        torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]], dtype=torch.float32),
        [1, 1, *image.shape],
        align_corners=False,
    )
    source = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    view = F.grid_sample(source, grid, padding_mode="reflection", align_corners=False)
    return view[0, 0].numpy() ** np.float32(rng.uniform(*GAMMA))


def train(
    model: DefectSegmenter,
    good: np.ndarray,
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Train the segmenter in place on good parts with synthetic defects.

    The loss is the sum of the binary cross-entropy and the Dice loss.

    Args:
        good: good parts, of shape `[N, H, W]` with values from 0 to 1.
        steps: the number of batches of eight.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = fit(
        model,
        SpoiledParts(good, steps * BATCH, seed),
        DeepOpt(model, lr=LR),
        epochs=1,
        recipe=Recipe(_loss, batch_size=BATCH, schedule=cosine),
        seed=seed,
        progress=progress,
    )
    model.eval()
    return run


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits, y)
    p = logits.sigmoid()
    overlap = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return entropy + 1 - overlap
