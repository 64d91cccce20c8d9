"""A compact classifier of solar cells, and how it is trained.

The network is EfficientNet-Lite0 without its last block at stride 32, its last stage and
its head, which would double the number of parameters. SC-attention follows three of its
stages and starts as the identity. The stem and the first two stages stay as ImageNet left
them. The rest is trained with DeepOpt and one cosine schedule; the images are flipped,
shifted, changed in brightness and contrast, and mixed in pairs (mixup). The loss is the
cross-entropy against the expert's probability of a defect. The weights of the last epoch
are taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from deepseek_learn.attention import attach
from deepseek_learn.data import ImageDataset
from deepseek_learn.optim import DeepOpt
from deepseek_learn.training import Fit, Recipe, cosine, fit
from deepseek_learn.zoo.metrics import auroc
from deepseek_learn.zoo.nets.efficientnet_lite import (
    EfficientNetLite,
    load_reference_weights,
)
from deepseek_learn.zoo.nets.imagenet import reference_weights
from deepseek_learn.zoo.train.solar_defects import (
    augment,
    in_layout,
    loss,
    with_probability,
)

from .depthwise import train_depthwise

# attention follows the stages at strides 8, 16 and 32 (40, 112 and 192 channels)
ATTENDED = ["0", "2", "3"]  # of the stages that are trained
WIDTH, LAST_BLOCKS = 192, 3
BATCH, MIXUP = 32, 0.3


@dataclass(frozen=True)
class Settings:
    """What `solar_tuning.py` chooses, and the training time.

    Attributes:
        lr, adamw_lr: the learning rate of DeepOpt, and the share of it for AdamW.
        size: the side length of the images in pixels.
        dropout: the dropout rate of the classifier.
    """

    lr: float = 0.0024
    adamw_lr: float = 0.05
    size: int = 192
    dropout: float = 0.15
    epochs: int = 16


SETTINGS = Settings()


class SolarNet(nn.Module):
    """Maps images `[B, 1, H, W]` from 0 to 1 to logits `[B, 2]`.

    The classifier takes the mean and the maximum over all positions, because a defect may
    be small.
    """

    def __init__(
        self,
        backbone: EfficientNetLite | None = None,
        attention: str | None = "sc",
        dropout: float = 0.2,
    ):
        super().__init__()
        backbone = backbone or EfficientNetLite(in_channels=1)
        stages = [nn.Sequential(*each.children()) for each in backbone.stages]
        self.early = nn.Sequential(backbone.stem, *stages[:2])  # stride 4, 24 channels
        self.late = nn.Sequential(*stages[2:5], stages[5][:LAST_BLOCKS])
        if attention is not None:
            attach(self.late, attention, where=ATTENDED, identity=True)
        self.norm = nn.BatchNorm1d(2 * WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * WIDTH, 2)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.late(self.early(x * 2 - 1))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)  # [B, 2 * 192]
        return self.classifier(self.dropout(self.norm(pooled.float())))


class FrozenStart(nn.Module):
    """A model whose first stages are frozen, including their batch statistics."""

    def __init__(self, model: SolarNet):
        super().__init__()
        self.model = in_layout(model, torch.channels_last)
        train_depthwise(model)
        self.model.early.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.model.early.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.contiguous(memory_format=torch.channels_last))


class Flips(nn.Module):
    """A classifier whose logits are the mean over the four flips of an image."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        flips = (x, x.flip(2), x.flip(3), x.flip(2, 3))
        return torch.stack([self.model(each) for each in flips]).mean(0)


class Mixup:
    """Trains on weighted means of two images and of their labels.

    Each batch is mixed with itself in another order; the weight is drawn from a
    Beta(alpha, alpha) distribution. Zhang et al. 2018, "mixup: Beyond Empirical Risk
    Minimization", ICLR.
    """

    def __init__(self, alpha: float = MIXUP):
        self.alpha = alpha

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = augment(images, generator, pixels=10, change=0.2)
        seed = int(torch.randint(2**31, (), generator=generator))
        self.weight = float(np.random.default_rng(seed).beta(self.alpha, self.alpha))
        self.order = torch.randperm(len(images), generator=generator)
        return self._mixed(images)

    def loss(self, logits: Tensor, probability: Tensor) -> Tensor:
        return loss(logits, self._mixed(probability))

    def _mixed(self, x: Tensor) -> Tensor:
        return self.weight * x + (1 - self.weight) * x[self.order]


def train(
    part: ImageDataset,
    settings: Settings = SETTINGS,
    *,
    attention: str | None = "sc",
    seed: int = 0,
    checkpoint: Path | None = None,
    validation: ImageDataset | None = None,
    metric: Callable[[Tensor, Tensor], float] = auroc,
) -> tuple[SolarNet, Fit]:
    """Train the classifier on `part`.

    With a validation part, the weights of the epoch with the best metric are kept.
    """
    torch.manual_seed(seed)
    backbone = load_reference_weights(
        EfficientNetLite(in_channels=1), reference_weights()
    )
    network = SolarNet(backbone, attention, settings.dropout)
    model, mixup = FrozenStart(network), Mixup()
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    run = fit(
        model,
        with_probability(part),
        DeepOpt(named, lr=settings.lr, adamw_lr=settings.adamw_lr, weight_decay=0.02),
        epochs=settings.epochs,
        validation=validation,
        recipe=Recipe(mixup.loss, metric, BATCH, cosine, mixup.augment),
        checkpoint=checkpoint,
        seed=seed,
    )
    return in_layout(network, torch.contiguous_format), run
