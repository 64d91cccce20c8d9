"""Tune AdamW, the reference of the track of update rules, or another of its entries.

    python leaderboard/tune_adamw.py [--entry NAME] [--budget 16]

The search of `deepseek_learn.optim.tune`, one axis after another, on each task, on the
mean loss of the validation part over three fixed seeds. AdamW trains for T steps and has
four axes; any other entry trains for T / 2 and has its learning rate. What the search
finds is written to one place, the table `settings` of the entry's metadata
(`leaderboard/update_rules/NAME.toml`), which makes all records of that track pending if
the entry is the reference. A search begins at the settings that are there, so that one
which the budget ended goes on.
"""

import argparse
import importlib.util
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from deepseek_learn.files import atomic_write
from deepseek_learn.leaderboard import EntryError
from deepseek_learn.leaderboard.entry import read
from deepseek_learn.leaderboard.update_rules import (
    TASKS,
    TrainingTask,
    UpdateServer,
    train,
)
from deepseek_learn.optim import TuningResult, tune

FOLDER = Path(__file__).parent / "update_rules"
SEEDS = (1, 2, 3)  # those of a race have 48 random bits
ADAMW = {
    "lr": tuple(1e-3 * 2**i for i in range(7)),
    "beta1": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    "beta2": (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    "decay": (0.0, 0.03, 0.1, 0.3),
}
START = {"lr": 8e-3, "beta1": 0.9, "beta2": 0.95, "decay": 0.1}
RATES = {"lr": tuple(5e-4 * 2**i for i in range(13))}
RATES_START = {"lr": 8e-3}


class InThisProcess:
    """The entry's side of the track without a sandbox: our own entries are trusted."""

    def __init__(self, path: Path):
        spec = importlib.util.spec_from_file_location("entry", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.server = UpdateServer()
        self.server.take(module)

    def ask(self, question: str, *arguments: Any) -> Any:
        return getattr(self.server, question)(*arguments)


def search(name: str, task: TrainingTask, budget: int) -> TuningResult:
    """Tune an entry on a task."""
    path = FOLDER / f"{name}.py"
    process, before = InThisProcess(path), read(path).settings.get(task.name, {})
    steps = task.steps if name == "adamw" else task.steps // 2

    def loss(settings: dict[str, Any]) -> float:
        try:
            losses = [
                train(task, steps, seed, settings, process, "validation")
                for seed in SEEDS
            ]
        except EntryError:  # the weights became NaN
            return math.inf
        print(task.name, settings, f"{fmean(losses):.4f}", flush=True)
        return fmean(losses)

    if name == "adamw":
        return tune(ADAMW, START | before, loss, budget)
    return tune(RATES, RATES_START | before, loss, budget)


def write(name: str, results: dict[str, TuningResult]) -> None:
    """Replace the settings in an entry's metadata."""
    path = FOLDER / f"{name}.toml"
    lines = [path.read_text("utf-8").partition("# tuned by")[0].rstrip(), ""]
    lines += ["# tuned by leaderboard/tune_adamw.py"]
    for task, result in results.items():
        ended = "interior" if result.interior else "the budget ended the search"
        if result.edges:
            ended += f"; at the end of {', '.join(result.edges)}"
        lines += [f"# {task}: {len(result.trials)} configurations, {ended}"]
        lines += [f"[settings.{task}]"]
        lines += [f"{key} = {value!r}" for key, value in result.best.items()]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entry", default="adamw", help="an entry of the track")
    parser.add_argument("--budget", type=int, default=16, help="configurations a task")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        name: search(options.entry, task, options.budget)
        for name, task in TASKS.items()
    }
    write(options.entry, results)


if __name__ == "__main__":
    main()
