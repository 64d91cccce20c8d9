"""A second table of really trained networks, for movements instead of digits.

    python benchmarks/models/trained_grid.py movements [--latency]

Protocol, fixed before the runs. 1,944 small convolutional networks on `data.movements`
(windows of 128 samples of 6 signals, 12 classes, split by person), a full grid: learning
rate 3e-4 to 0.1 in 6 values with one ratio between neighbors, width 8, 16, 32, depth 1 to
4, optimizer SGD (momentum 0.9), AdamW or RMSprop, activation ReLU, GELU or tanh,
normalization none, batch or layer (over the channels of a group norm with one group). A
network is a convolution of 5 to `width` channels with stride 2, then `depth` - 1 more,
each followed by the normalization and the activation; then the mean over time and one
linear layer. Batches of 64, weight decay 0.01 for AdamW alone, no augmentation, a
constant learning rate. 4 epochs over 2,500 windows of the train part, drawn once with
seed 0, in batches of a random order, what is left over dropped; seed 0 decides the initial
weights and the orders, the same in every cell. Signals are divided by their deviation on
those windows. After each epoch: the share of wrong answers on 1,500 windows of the
validation part, drawn likewise. A run whose loss is no longer finite ends; its error is 1
from that epoch on. Kept as well: processor seconds of the run's training. One thread.

Latency, once an architecture (width, depth, activation, normalization): a forward of 32
windows in evaluation mode, one thread, one process. 15 rounds over all 108 architectures;
each is timed beside the baseline (width 16, depth 2, ReLU, no normalization): 20 calls of
either, the fastest call of each; the median over rounds of the ratio, times the median of
the baseline's times.

No targets: the table is the ground of other benchmarks. It has one seed a cell, so the
best cells are in part the luckiest: it ranks ways of searching, not hyperparameters.

Finished runs are lines in `tables/runs/` (not in git), from which a run that was cut off
goes on; `tables/movements_networks.npz` is the table. `--latency` measures latency anew.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_learn import data

from .trained_grid import Grid, Table, Task

GRID = Grid(
    axes={
        "lr": tuple(3e-4 * (0.1 / 3e-4) ** (i / 5) for i in range(6)),
        "width": (8, 16, 32),
        "depth": (1, 2, 3, 4),
        "optimizer": ("sgd", "adamw", "rmsprop"),
        "activation": ("relu", "gelu", "tanh"),
        "normalization": ("none", "batch", "layer"),
    },
    logarithmic=("lr", "width"),
    integers=("width", "depth"),
    architecture=("width", "depth", "activation", "normalization"),
)
EPOCHS, BATCH, TRAINED, HELD_OUT, WINDOWS = 4, 64, 2500, 1500, 32
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def network(
    width: int, depth: int, activation: str, normalization: str
) -> nn.Sequential:
    """`[B, 6, 128]` → logits `[B, 12]`."""
    layers, c_in = [], 6
    for _ in range(depth):
        layers += [nn.Conv1d(c_in, width, 5, stride=2, padding=2)]
        if normalization != "none":
            batch = normalization == "batch"
            layers += [nn.BatchNorm1d(width) if batch else nn.GroupNorm(1, width)]
        layers += [ACTIVATIONS[activation]()]
        c_in = width
    pool = nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(width, 12))


def optimizer(parameters, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    kind, lr = config["optimizer"], config["lr"]
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr, weight_decay=0.01)
    if kind == "rmsprop":
        return torch.optim.RMSprop(parameters, lr)
    return torch.optim.SGD(parameters, lr, momentum=0.9)


def windows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training windows and labels, held-out windows and labels."""
    splits, result = data.movements(), []
    for part, count in ((splits.train, TRAINED), (splits.validation, HELD_OUT)):
        x, y = part.batch()
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(x), generator=generator)[:count]
        result += [x[rows], y[rows]]
    x, y, x_out, y_out = result
    scale = x.std((0, 2), keepdim=True)
    return x / scale, y, x_out / scale, y_out


TASK = Task(
    name="movements",
    protocol=__doc__,
    grid=GRID,
    epochs=EPOCHS,
    network=network,
    optimizer=optimizer,
    parts=windows,
    baseline={"width": 16, "depth": 2, "activation": "relu", "normalization": "none"},
    batch=lambda: torch.rand(WINDOWS, 6, 128),
    batch_size=BATCH,
)


def load() -> Table:
    """The committed table."""
    return TASK.load()
