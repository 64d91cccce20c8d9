"""A table of really trained networks: every point of a grid, so a search costs nothing.

    python benchmarks/models/trained_grid.py digits [--latency]

Protocol, fixed before the runs. 1,152 small convolutional networks on `data.digits`, a
full grid: learning rate 1e-4 to 0.3 in 8 values with one ratio between neighbors, batch
size 16, 32, 64, width 4, 8, 16, 32, depth 1, 2, 3, optimizer SGD (momentum 0.9) or Adam,
activation ReLU or tanh. A network is `depth` convolutions of 3 x 3 with `width` channels
and the activation; the first two are followed by a max pool of 2; then one linear layer.
No normalization, no weight decay, no augmentation, a constant learning rate: the error
after an epoch does not depend on how many were planned. 8 epochs over the 1,078 training
pictures in batches of a random order, what is left over dropped; seed 0 decides the
initial weights and the orders, the same in every cell. After each epoch: the share of
wrong answers on the 719 held-out pictures (validation and test part together, granularity
0.14 %). A run whose loss is no longer finite ends; its error is 1 from that epoch on.
Kept as well: processor seconds of the run's training. One thread.

Latency, once an architecture (width, depth, activation): a forward of 32 pictures in
evaluation mode, one thread, one process. 15 rounds over all 24 architectures; each is
timed beside the baseline (width 8, depth 2, ReLU): 20 calls of either, the fastest call
of each; the median over rounds of the ratio, times the median of the baseline's times.

No targets: the table is the ground of other benchmarks. It has one seed a cell, so the
best cells are in part the luckiest: it ranks ways of searching, not hyperparameters.

Finished runs are lines in `tables/runs/` (not in git), from which a run that was cut off
goes on; `tables/digits_networks.npz` is the table. `--latency` measures latency anew.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_learn import data

from .trained_grid import Grid, Table, Task

LRS = tuple(1e-4 * 3000 ** (i / 7) for i in range(8))
GRID = Grid(
    axes={
        "lr": LRS,
        "batch_size": (16, 32, 64),
        "width": (4, 8, 16, 32),
        "depth": (1, 2, 3),
        "optimizer": ("sgd", "adam"),
        "activation": ("relu", "tanh"),
    },
    logarithmic=("lr", "batch_size", "width"),
    integers=("batch_size", "width", "depth"),
    architecture=("width", "depth", "activation"),
)
EPOCHS, PICTURES = 8, 32


def network(width: int, depth: int, activation: str) -> nn.Sequential:
    """`[B, 1, 8, 8]` in 0..1 → logits `[B, 10]`."""
    layers, c_in, size = [], 1, 8
    for i in range(depth):
        layers += [nn.Conv2d(c_in, width, 3, padding=1)]
        layers += [nn.ReLU() if activation == "relu" else nn.Tanh()]
        if i < 2:
            layers += [nn.MaxPool2d(2)]
            size //= 2
        c_in = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * size**2, 10))


def optimizer(parameters, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    if config["optimizer"] == "adam":
        return torch.optim.Adam(parameters, config["lr"])
    return torch.optim.SGD(parameters, config["lr"], momentum=0.9)


def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, held-out images and labels."""
    splits = data.digits()
    held_out = [splits.validation.batch(), splits.test.batch()]
    x, y = (torch.cat(part) for part in zip(*held_out, strict=True))
    return *splits.train.batch(), x, y


TASK = Task(
    name="digits",
    protocol=__doc__,
    grid=GRID,
    epochs=EPOCHS,
    network=network,
    optimizer=optimizer,
    parts=pictures,
    baseline={"width": 8, "depth": 2, "activation": "relu"},
    batch=lambda: torch.rand(PICTURES, 1, 8, 8),
)


def load() -> Table:
    """The committed table."""
    return TASK.load()
