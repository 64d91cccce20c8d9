"""The five tasks for comparing optimizers (that on a table is in `flights.py`)."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn import data
from deepseek_learn.files import atomic_write

from .flights import Flights
from .optimizer_task import Task, rows_in_order

CACHE = ".venv"  # next to this folder; its content can be regenerated


class Poems(Task):
    """A decoder-only transformer on the bytes of Tang poems."""

    name, title = "poems", "byte-level transformer, Tang poems"
    batch, steps, length = 24, 300, 96

    def build(self) -> nn.Module:
        from deepseek_learn.lm import Decoder

        return Decoder(dim=96, layers=4, heads=4, context=self.length)

    @cached_property
    def text(self):
        return data.tang_poems()

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1000 + seed)
        while True:
            w = data.windows(self.text.train, self.length, self.batch, generator)
            yield w[:, :-1], w[:, 1:]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(7)
        w = data.windows(getattr(self.text, part), self.length, 384, generator)
        return [(x[:, :-1], x[:, 1:]) for x in w.split(96)]


class Fashion(Task):
    """A residual network on Fashion-MNIST."""

    name, title = "fashion", "residual network, Fashion-MNIST"
    batch, steps = 128, 250

    def build(self) -> nn.Module:
        from deepseek_learn.zoo.nets.fashion_net import SmallResNet

        return SmallResNet(widths=(16, 32, 64))

    @cached_property
    def splits(self):
        return data.fashion_mnist()

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        from deepseek_learn.zoo.train.fashion_net import augment

        generator = torch.Generator().manual_seed(1000 + seed)
        train = self.splits.train
        for rows in rows_in_order(len(train), self.batch, generator):
            images, labels = train.batch(rows)
            yield augment(images, generator), labels

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        dataset = getattr(self.splits, part)
        return [dataset.batch(slice(i, i + 500)) for i in range(0, len(dataset), 500)]


class Solar(Task):
    """The last stage and the head of the solar-cell defect classifier, fine-tuned.

    Stages 0 to 5 keep their ImageNet weights; their features for each cell in its eight
    orientations, at 160 x 160, are computed once and cached. The axis "rest" is the
    learning rate of all non-matrices, the new head and the norms, relative to that of the
    matrices, which start from their ImageNet weights.
    """

    name, title = "solar", "defect classifier's last stage and head, solar cells"
    batch, steps, size = 64, 100, 160
    axes = MappingProxyType({"rest": (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0)})

    def build(self) -> nn.Module:
        from deepseek_learn.zoo.nets.efficientnet_lite import (
            EfficientNetLite,
            load_reference_weights,
        )
        from deepseek_learn.zoo.nets.imagenet import reference_weights

        net = load_reference_weights(EfficientNetLite(2, 1), reference_weights())
        self.trunk = nn.Sequential(net.stem, *net.stages[:6])
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.dropout)
        return nn.Sequential(net.stages[6], net.head, pooled, net.classifier)

    @cached_property
    def parts(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Part → the trunk's features `[views, N, 192, 5, 5]` in float16, probabilities."""
        path = Path(__file__).parent.parent / CACHE / f"solar_trunk_{self.size}.pt"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path) as temporary:
                torch.save(self._computed(), temporary)
        return torch.load(path, weights_only=True)

    @torch.no_grad()
    def _computed(self) -> dict[str, tuple[Tensor, Tensor]]:
        self.build()
        self.trunk.eval()
        splits, parts = data.elpv(split="random", size=self.size), {}
        for part in ("train", "validation", "test"):
            dataset = getattr(splits, part)
            rows = [slice(i, i + 50) for i in range(0, len(dataset), 50)]
            views = range(8) if part == "train" else [0]
            features = [
                torch.cat(
                    [self.trunk(_view(dataset.batch(r)[0], v)) for r in rows]
                ).half()
                for v in views
            ]
            probability = torch.tensor(dataset.frame["probability"].to_numpy("float32"))
            parts[part] = torch.stack(features), 0.05 + 0.9 * probability
        return parts

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1000 + seed)
        x, y = self.parts["train"]
        for rows in rows_in_order(len(y), self.batch, generator):
            view = torch.randint(len(x), (len(rows),), generator=generator)
            yield x[view, rows].float(), y[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        targets = torch.stack([1 - batch[1], batch[1]], 1)
        return F.cross_entropy(model(batch[0]), targets)

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        x, y = self.parts[part]
        return [
            (x[0, i : i + 200].float(), y[i : i + 200]) for i in range(0, len(y), 200)
        ]


def _view(images: Tensor, view: int) -> Tensor:
    """Pixels 0..1 as network input, rotated by `view % 4`, mirrored above 3."""
    images = images.flip(3) if view > 3 else images
    return images.rot90(view % 4, (2, 3)) * 2 - 1


class Bacteria(Task):
    """A U-Net that segments bacteria; cross-entropy plus one minus the Dice overlap."""

    name, title = "bacteria", "U-Net, bacteria in bright-field microscopy"
    batch, steps, tile = 16, 200, 56

    def build(self) -> nn.Module:
        from deepseek_learn.zoo.nets.unet import UNet

        return UNet(width=12, depth=3)

    @cached_property
    def splits(self):
        return data.bacteria(tile=self.tile)

    @cached_property
    def positive_tiles(self):
        """The training tiles with bacteria on them."""
        train = self.splits.train
        return train.subset(train.labels.flatten(1).any(1).nonzero()[:, 0])

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        from deepseek_learn.zoo.train.bacteria_unet import augment

        generator = torch.Generator().manual_seed(1000 + seed)
        for rows in rows_in_order(len(self.positive_tiles), self.batch, generator):
            images, masks = self.positive_tiles.batch(rows)
            turns, mirror = torch.randint(4, (2,), generator=generator).tolist()
            axes = (3,) if mirror % 2 else ()
            images = images.flip(axes).rot90(turns, (2, 3))
            masks = masks.flip([a - 1 for a in axes]).rot90(turns, (1, 2))
            yield augment(images, generator), masks

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        from deepseek_learn.zoo.train.bacteria_unet import loss

        return loss(model(batch[0]), batch[1])

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        dataset = getattr(self.splits, part)
        return [dataset.batch(slice(i, i + 64)) for i in range(0, len(dataset), 64)]


TASKS = {task.name: task for task in (Poems, Fashion, Solar, Bacteria, Flights)}
