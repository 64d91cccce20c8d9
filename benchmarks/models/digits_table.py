"""A table of really trained networks: every point of a grid, so a search costs nothing.

    python benchmarks/models/digits_table.py [--latency]

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

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn import data
from deepseek_learn.files import atomic_write

TABLES = Path(__file__).resolve().parents[1] / "tables"
PATH = TABLES / "digits_networks.npz"
COMMAND = "python benchmarks/models/digits_table.py"
PROTOCOL = hashlib.sha256(__doc__.encode()).hexdigest()[:12]

LRS = tuple(1e-4 * 3000 ** (i / 7) for i in range(8))
GRID = {
    "lr": LRS,
    "batch_size": (16, 32, 64),
    "width": (4, 8, 16, 32),
    "depth": (1, 2, 3),
    "optimizer": ("sgd", "adam"),
    "activation": ("relu", "tanh"),
}
LOGARITHMIC, INTEGERS = ("lr", "batch_size", "width"), ("batch_size", "width", "depth")
ARCHITECTURE = ("width", "depth", "activation")
BASELINE = {"width": 8, "depth": 2, "activation": "relu"}
EPOCHS, ROUNDS, CALLS, PICTURES = 8, 15, 20, 32


@dataclass(frozen=True)
class Table:
    """The trained grid.

    Attributes:
        errors: `[8, 3, 4, 3, 2, 2, 8]`, the axes of `GRID`, then the epoch.
        cpu_seconds: `[8, 3, 4, 3, 2, 2]`, training time per cell.
        latency_ms: `[4, 3, 2]`, axes as in `ARCHITECTURE`, for 32 images.
        parameters: `[4, 3, 2]`.
        facts: command, protocol hash, date, torch, processor.
    """

    errors: np.ndarray
    cpu_seconds: np.ndarray
    latency_ms: np.ndarray
    parameters: np.ndarray
    facts: dict[str, Any]

    @cached_property
    def space(self) -> dict:
        """Name → Optuna distribution that spans the grid."""
        from optuna import distributions as d

        space = {}
        for name, values in GRID.items():
            if name in INTEGERS:
                log = name in LOGARITHMIC
                space[name] = d.IntDistribution(min(values), max(values), log=log)
            elif name in LOGARITHMIC:
                space[name] = d.FloatDistribution(values[0], values[-1], log=True)
            else:
                space[name] = d.CategoricalDistribution(values)
        return space

    def lookup(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The measurements at the grid point nearest to `config`.

        Distances are logarithmic for `lr`, `batch_size` and `width`.

        Returns:
            `errors` (8 shares of wrong answers, one an epoch), `latency_ms` of 32
            pictures, `parameters`, `cpu_seconds` of the training, `point`: the grid's.

        Raises:
            ValueError: for a missing or unknown name, or a value outside the space.
        """
        if set(config) != set(GRID):
            raise ValueError(f"config must name {list(GRID)}; got {list(config)}.")
        place = {name: snap(name, config[name]) for name in GRID}
        cell = tuple(place.values())
        shape = tuple(place[name] for name in ARCHITECTURE)
        return {
            "errors": [float(error) for error in self.errors[cell]],
            "latency_ms": float(self.latency_ms[shape]),
            "parameters": int(self.parameters[shape]),
            "cpu_seconds": float(self.cpu_seconds[cell]),
            "point": {name: GRID[name][i] for name, i in place.items()},
        }


def snap(name: str, value: Any) -> int:
    """Position of the grid value of `name` nearest to `value`.

    Raises:
        ValueError: for a value outside the grid's range, or of another type.
    """
    values = GRID[name]
    if isinstance(values[0], str):
        if value not in values:
            raise ValueError(f"{name} must be one of {values}; got {value!r}.")
        return values.index(value)
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    good = number and (name not in INTEGERS or int(value) == value)
    if not good or not values[0] <= value <= values[-1]:
        kind = "an integer" if name in INTEGERS else "a number"
        raise ValueError(
            f"{name} must be {kind} from {values[0]:g} to {values[-1]:g}; got {value!r}."
        )
    scale = math.log if name in LOGARITHMIC else float
    return min(range(len(values)), key=lambda i: abs(scale(values[i]) - scale(value)))


def load(path: Path = PATH) -> Table:
    """The committed table.

    Raises:
        FileNotFoundError: when it has not been generated.
    """
    with np.load(path) as arrays:
        facts = json.loads(str(arrays["facts"]))
        names = ("errors", "cpu_seconds", "latency_ms", "parameters")
        return Table(*(arrays[name] for name in names), facts)


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


def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, held-out images and labels."""
    splits = data.digits()
    held_out = [splits.validation.batch(), splits.test.batch()]
    x, y = (torch.cat(part) for part in zip(*held_out, strict=True))
    return *splits.train.batch(), x, y


def train(config: Mapping[str, Any], parts=None) -> dict[str, Any]:
    """Train one cell of the grid: `errors` after each epoch and `cpu_seconds`."""
    x, y, x_out, y_out = parts or pictures()
    torch.manual_seed(0)
    model = network(*(config[name] for name in ARCHITECTURE))
    if config["optimizer"] == "adam":
        optimizer = torch.optim.Adam(model.parameters(), config["lr"])
    else:
        optimizer = torch.optim.SGD(model.parameters(), config["lr"], momentum=0.9)
    errors, seconds = [], 0.0
    for epoch in range(EPOCHS):
        start = time.process_time()
        finite = train_epoch(model, optimizer, x, y, config["batch_size"], epoch)
        seconds += time.process_time() - start
        if not finite:
            errors += [1.0] * (EPOCHS - epoch)
            break
        with torch.inference_mode():
            errors.append((model(x_out).argmax(1) != y_out).double().mean().item())
    return {"errors": errors, "cpu_seconds": seconds}


def train_epoch(model, optimizer, x, y, batch_size: int, epoch: int) -> bool:
    """One pass over the images; False as soon as a loss is not finite."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
    for rows in order.split(batch_size)[: len(x) // batch_size]:
        loss = F.cross_entropy(model(x[rows]), y[rows])
        if not math.isfinite(loss.item()):
            return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return True


def latencies() -> dict[str, Any]:
    """Milliseconds of each architecture in grid order, according to the protocol."""
    shapes = list(product(*(GRID[name] for name in ARCHITECTURE)))
    models = [network(*shape).eval() for shape in shapes]
    baseline, x = network(**BASELINE).eval(), torch.rand(PICTURES, 1, 8, 8)
    ratios, base = [[] for _ in shapes], []
    with torch.inference_mode():
        for i in range(ROUNDS + 1):
            for ratio, model in zip(ratios, models, strict=True):
                pair = fastest(baseline, x), fastest(model, x)
                if i:  # the first round warms up
                    base.append(pair[0])
                    ratio.append(pair[1] / pair[0])
    unit = statistics.median(base)
    return {"latency_ms": [unit * statistics.median(ratio) for ratio in ratios]}


def fastest(model: nn.Module, x: Tensor) -> float:
    """Milliseconds of the fastest call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def write(cells: list[dict], latency_ms: list[float]) -> Table:
    """Write the table from the finished runs, in grid order."""
    shape = tuple(len(values) for values in GRID.values())
    small = tuple(len(GRID[name]) for name in ARCHITECTURE)
    counts = [
        sum(p.numel() for p in network(*point).parameters())
        for point in product(*(GRID[name] for name in ARCHITECTURE))
    ]
    facts = {"command": COMMAND, "protocol": PROTOCOL, "machine": cells[0]["machine"]}
    facts["date"] = max(cell["date"] for cell in cells)
    arrays = {
        # float64, so that an error equals that of a new run of the cell
        "errors": np.array([c["errors"] for c in cells]).reshape(*shape, EPOCHS),
        "cpu_seconds": np.array([c["cpu_seconds"] for c in cells]).reshape(shape),
        "latency_ms": np.array(latency_ms).reshape(small),
        "parameters": np.array(counts).reshape(small),
    }
    with atomic_write(PATH) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, facts=np.array(json.dumps(facts)))
    return load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", action="store_true", help="measure latency again")
    again = parser.parse_args().latency
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from harness.runs import Runs

    runs = Runs(TABLES / "runs" / "digits_networks.jsonl", __doc__)
    parts, cells = pictures(), []
    for point in product(*GRID.values()):
        config = dict(zip(GRID, point, strict=True))
        cells.append(runs.once(config, lambda config=config: train(config, parts)))
    timing = Runs(TABLES / "runs" / "digits_latency.jsonl", __doc__, anew=again)
    table = write(cells, timing.once({"pictures": PICTURES}, latencies)["latency_ms"])
    minutes = table.cpu_seconds.sum() / 60
    print(f"{PATH.name}: {minutes:.1f} processor minutes of training, lowest error "
          f"{table.errors[..., -1].min():.4f}, {PATH.stat().st_size} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
