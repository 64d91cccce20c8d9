"""A grid of configurations whose every point was really trained, so a search costs nothing.

    python benchmarks/models/trained_grid.py NAME [--latency]

makes a table, that of `models/NAME_table.py`, once, and it is committed: `Table.lookup`
answers for any configuration with the measurements at the nearest grid point.
"""

import argparse
import hashlib
import importlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn.files import atomic_write

TABLES = Path(__file__).resolve().parents[1] / "tables"


@dataclass(frozen=True)
class Grid:
    """The axes of a grid.

    Attributes:
        axes: name → the values, ascending where they are numbers.
        logarithmic: the axes along which distances are measured in the logarithm.
        integers: the axes that take whole numbers only.
        architecture: the axes on which size and latency depend.
    """

    axes: Mapping[str, tuple]
    logarithmic: tuple[str, ...]
    integers: tuple[str, ...]
    architecture: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.axes.values())

    def configurations(self) -> list[dict[str, Any]]:
        """All points, the last axis fastest."""
        points = product(*self.axes.values())
        return [dict(zip(self.axes, point, strict=True)) for point in points]

    def architectures(self) -> list[dict[str, Any]]:
        points = product(*(self.axes[name] for name in self.architecture))
        return [dict(zip(self.architecture, point, strict=True)) for point in points]

    def space(self) -> dict:
        """Name → Optuna distribution that spans the grid."""
        from optuna import distributions as d

        space = {}
        for name, values in self.axes.items():
            if name in self.integers:
                log = name in self.logarithmic
                space[name] = d.IntDistribution(min(values), max(values), log=log)
            elif name in self.logarithmic:
                space[name] = d.FloatDistribution(values[0], values[-1], log=True)
            else:
                space[name] = d.CategoricalDistribution(values)
        return space

    def snap(self, name: str, value: Any) -> int:
        """Position of the grid value of `name` nearest to `value`.

        Raises:
            ValueError: for a value outside the grid's range, or of another type.
        """
        values = self.axes[name]
        if isinstance(values[0], str):
            if value not in values:
                raise ValueError(f"{name} must be one of {values}; got {value!r}.")
            return values.index(value)
        number = isinstance(value, int | float | np.number)
        good = number and not isinstance(value, bool)
        good = good and (name not in self.integers or int(value) == value)
        if not good or not values[0] <= value <= values[-1]:
            kind = "an integer" if name in self.integers else "a number"
            raise ValueError(
                f"{name} must be {kind} from {values[0]:g} to {values[-1]:g}; "
                f"got {value!r}."
            )
        scale = math.log if name in self.logarithmic else float
        places = range(len(values))
        return min(places, key=lambda i: abs(scale(values[i]) - scale(value)))


@dataclass(frozen=True)
class Table:
    """The trained grid.

    Attributes:
        errors: the shares of wrong answers; the axes of the grid, then the epoch.
        cpu_seconds: training time, the axes of the grid.
        latency_ms: of one batch, the axes of the architecture.
        parameters: the axes of the architecture.
        facts: command, protocol hash, date, torch, processor.
    """

    grid: Grid
    errors: np.ndarray
    cpu_seconds: np.ndarray
    latency_ms: np.ndarray
    parameters: np.ndarray
    facts: dict[str, Any]

    @cached_property
    def space(self) -> dict:
        return self.grid.space()

    def lookup(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The measurements at the grid point nearest to `config`.

        Returns:
            `errors` (a share of wrong answers for each epoch), `latency_ms`,
            `parameters`, `cpu_seconds` of the training, `point`: the grid's.

        Raises:
            ValueError: for a missing or unknown name, or a value outside the space.
        """
        axes = self.grid.axes
        if set(config) != set(axes):
            raise ValueError(f"config must name {list(axes)}; got {list(config)}.")
        place = {name: self.grid.snap(name, config[name]) for name in axes}
        cell = tuple(place.values())
        shape = tuple(place[name] for name in self.grid.architecture)
        return {
            "errors": [float(error) for error in self.errors[cell]],
            "latency_ms": float(self.latency_ms[shape]),
            "parameters": int(self.parameters[shape]),
            "cpu_seconds": float(self.cpu_seconds[cell]),
            "point": {name: axes[name][i] for name, i in place.items()},
        }


@dataclass(frozen=True)
class Task:
    """What is trained at each point of a grid, and where its table is kept.

    Attributes:
        protocol: a docstring; the table carries the hash of what follows its command.
        network: architecture → model.
        optimizer: (model's parameters, configuration) → optimizer.
        parts: () → training inputs and labels, held-out inputs and labels.
        baseline: the architecture beside which each latency is timed.
        batch: the input whose forward is timed.
        batch_size: of a training step, where the grid has no such axis.
    """

    name: str
    protocol: str
    grid: Grid
    epochs: int
    network: Callable[..., nn.Module]
    optimizer: Callable[[Any, Mapping[str, Any]], torch.optim.Optimizer]
    parts: Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]]
    baseline: Mapping[str, Any]
    batch: Callable[[], Tensor]
    batch_size: int = 0
    rounds: int = 15
    calls: int = 20

    @property
    def path(self) -> Path:
        return TABLES / f"{self.name}_networks.npz"

    @property
    def version(self) -> str:
        text = self.protocol[self.protocol.index("Protocol") :]
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def load(self, path: Path | None = None) -> Table:
        """The committed table.

        Raises:
            FileNotFoundError: when it has not been generated.
        """
        with np.load(path or self.path) as arrays:
            facts = json.loads(str(arrays["facts"]))
            names = ("errors", "cpu_seconds", "latency_ms", "parameters")
            return Table(self.grid, *(arrays[name] for name in names), facts)

    def train(self, config: Mapping[str, Any], parts=None) -> dict[str, Any]:
        """Train one cell of the grid: `errors` after each epoch and `cpu_seconds`."""
        x, y, x_out, y_out = parts or self.parts()
        torch.manual_seed(0)
        model = self.network(**{name: config[name] for name in self.grid.architecture})
        optimizer = self.optimizer(model.parameters(), config)
        errors, seconds = [], 0.0
        for epoch in range(self.epochs):
            start = time.process_time()
            model.train()
            size = config.get("batch_size", self.batch_size)
            finite = train_epoch(model, optimizer, x, y, size, epoch)
            seconds += time.process_time() - start
            if not finite:
                errors += [1.0] * (self.epochs - epoch)
                break
            model.eval()
            with torch.inference_mode():
                wrong = model(x_out).argmax(1) != y_out
            errors.append(wrong.double().mean().item())
        return {"errors": errors, "cpu_seconds": seconds}

    def latencies(self) -> dict[str, Any]:
        """Milliseconds of each architecture in grid order, according to the protocol."""
        models = [self.network(**each).eval() for each in self.grid.architectures()]
        baseline, x = self.network(**self.baseline).eval(), self.batch()
        ratios, base = [[] for _ in models], []
        with torch.inference_mode():
            for i in range(self.rounds + 1):
                for ratio, model in zip(ratios, models, strict=True):
                    pair = [fastest(each, x, self.calls) for each in (baseline, model)]
                    if i:  # the first round warms up
                        base.append(pair[0])
                        ratio.append(pair[1] / pair[0])
        unit = statistics.median(base)
        return {"latency_ms": [unit * statistics.median(ratio) for ratio in ratios]}

    def write(
        self, cells: list[dict], latency_ms: list[float], path: Path | None = None
    ) -> Table:
        """Write the table from the finished runs, in grid order."""
        path = path or self.path
        small = tuple(len(self.grid.axes[name]) for name in self.grid.architecture)
        counts = [
            sum(p.numel() for p in self.network(**each).parameters())
            for each in self.grid.architectures()
        ]
        command = f"python benchmarks/models/{Path(__file__).name} {self.name}"
        facts = {"command": command, "protocol": self.version}
        facts |= {"machine": cells[0]["machine"]}
        facts |= {"date": max(cell["date"] for cell in cells)}
        errors = np.array([cell["errors"] for cell in cells])
        arrays = {
            # float64, so that an error equals that of a new run of the cell
            "errors": errors.reshape(*self.grid.shape, self.epochs),
            "cpu_seconds": np.array([c["cpu_seconds"] for c in cells]),
            "latency_ms": np.array(latency_ms).reshape(small),
            "parameters": np.array(counts).reshape(small),
        }
        arrays["cpu_seconds"] = arrays["cpu_seconds"].reshape(self.grid.shape)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays, facts=np.array(json.dumps(facts)))
        return self.load(path)

    def make(self, again: bool = False) -> None:
        """Train what is missing, time the architectures, and write the table.

        Args:
            again: whether to measure the latencies anew.
        """
        from harness.runs import Runs

        torch.set_num_threads(1)
        runs = Runs(TABLES / "runs" / f"{self.name}_networks.jsonl", self.protocol)
        parts = self.parts()
        cells = [
            runs.once(config, lambda config=config: self.train(config, parts))
            for config in self.grid.configurations()
        ]
        lines = TABLES / "runs" / f"{self.name}_latency.jsonl"
        timing = Runs(lines, self.protocol, anew=again)
        key = {"architectures": len(self.grid.architectures())}
        table = self.write(cells, timing.once(key, self.latencies)["latency_ms"])
        minutes, lowest = table.cpu_seconds.sum() / 60, table.errors[..., -1].min()
        print(f"{self.path.name}: {minutes:.1f} processor minutes of training, "
              f"lowest error {lowest:.4f}, {self.path.stat().st_size} bytes")  # fmt: skip


def train_epoch(model, optimizer, x, y, batch_size: int, epoch: int) -> bool:
    """One pass over the inputs; False as soon as a loss is not finite."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
    for rows in order.split(batch_size)[: len(x) // batch_size]:
        loss = F.cross_entropy(model(x[rows]), y[rows])
        if not math.isfinite(loss.item()):
            return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return True


def fastest(model: nn.Module, x: Tensor, calls: int) -> float:
    """Milliseconds of the fastest call."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="digits or movements")
    parser.add_argument("--latency", action="store_true", help="measure it again")
    options = parser.parse_args()
    sys.path.insert(0, str(TABLES.parent))
    table = importlib.import_module(f"models.{options.name}_table")
    table.TASK.make(options.latency)


if __name__ == "__main__":
    main()
