"""A small segmenter with SC-attention, trained on good parts and synthetic defects."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...attention import attach
from ...bar import Bar
from ...optim import DeepOpt
from ...training import cosine
from ...zoo.nets.unet import UNet
from .synthetic import spoil

STEPS, BATCH, LR = 600, 8, 3e-3


class DefectSegmenter(nn.Module):
    """A U-Net with attention at half resolution; its map says where a defect is.

    It maps images of shape `[B, 1, H, W]` with values from 0 to 1 to probabilities of
    shape `[B, H, W]`. H and W must be multiples of 16. Four neighboring pixels become
    four channels (and vice versa at the end), which quarters the work and keeps defects
    that are one pixel wide.

    Args:
        attention: the attention module after each pair of convolutions; None for none.
    """

    def __init__(self, width: int = 16, attention: str | None = "sc"):
        super().__init__()
        self.unet = UNet(in_channels=4, out_channels=4, width=width, depth=3)
        if attention is not None:
            attach(self.unet, attention, where="double_conv", identity=True)

    def logits(self, x: Tensor) -> Tensor:
        """Compute the logit of "defect" for each pixel, of shape `[B, H, W]`."""
        x = F.pixel_unshuffle(x - 0.5, 2)  # [B, 4, H/2, W/2]
        return F.pixel_shuffle(self.unet(x), 2)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).sigmoid()


def train(
    model: DefectSegmenter,
    good: np.ndarray,
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = True,
    on_step: Callable[[int, float], object] = lambda step, loss: None,
) -> DefectSegmenter:
    """Train the segmenter in place on good parts, most of which are spoiled anew each time.

    The loss is the sum of the binary cross-entropy and the Dice loss. One part in four
    stays good, so that the segmenter also learns to leave good parts alone.

    Args:
        good: good parts, of shape `[N, H, W]` with values from 0 to 1.
        on_step: called after each step with its number and its loss.
    """
    rng = np.random.default_rng(seed)
    optimizer = DeepOpt(model, lr=LR)
    base = [group["lr"] for group in optimizer.param_groups]
    model.train()
    with Bar(steps, progress, "segmenter") as bar:
        for step in range(steps):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * cosine(step, steps)
            x, y = _batch(good, rng)
            loss = _loss(model.logits(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            on_step(step, loss.item())
            bar.advance(1)
    return model.eval()


def _batch(good: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images `[B, 1, H, W]` and masks `[B, H, W]`, flipped and lit at random."""
    images, masks = [], []
    for index in rng.integers(0, len(good), BATCH):
        image, mask = good[index], np.zeros(good[index].shape, bool)
        if rng.random() < 0.75:
            image, mask = spoil(image, rng, good)
        light = rng.uniform(0.9, 1.1), rng.uniform(-0.05, 0.05)
        images.append(np.clip(image * light[0] + light[1], 0, 1))
        masks.append(mask)
    x = torch.from_numpy(np.stack(images)).float()[:, None]
    y = torch.from_numpy(np.stack(masks)).float()
    return (x.flip(-1), y.flip(-1)) if rng.random() < 0.5 else (x, y)


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits, y)
    p = logits.sigmoid()
    overlap = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return entropy + 1 - overlap
