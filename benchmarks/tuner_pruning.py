"""How many epochs pruning saves, at the same hypervolume, with several objectives.

    python benchmarks/tuner_pruning.py [--quick] [--anew]

Protocol. The really trained networks of `models/digits_table.py`, 8 epochs each; error,
log10 of the latency, log10 of the parameters; reference: the table's worst. A trial
costs the epochs it was trained for; after each epoch it reports the error of that epoch
and the two sizes. The hypervolume is that of the trials trained to the end: a pruned one
counts for nothing but its epochs. One thread, in-memory storage, seeds 0 to 19, the same
for every sampler: `GeneticSampler` as it comes, Optuna's TPE and random search. Optuna
itself has no pruner for several objectives to compare with (its issue 3450).

Definition, before the run. For one seed: without pruning and with a budget of B epochs
the search ends at the hypervolume H, which it first reached after u epochs. With
`DominationPruner()` as it comes, the same sampler and the same seed, H is reached after p
epochs. The ratio is u / p. A search with pruning ends at 3 B epochs; where it has not
reached H by then, the ratio is taken as 0. B = 400 (50 whole trainings).

Target, stated before the run: the median ratio of `GeneticSampler` is at least 1.5. The
interval is the 95 % bootstrap's of the median over seeds. For information: B = 200 and
640, the other samplers, and the hypervolume with pruning less without at equal epochs.

Finished runs are lines in `results/tuner_pruning.jsonl`; `--anew` takes none over.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import torch
from harness.interval import bootstrap
from harness.script import Run, Script
from models import digits_table

from deepseek_learn.ledger.rows import Row
from deepseek_learn.tuner import DominationPruner, GeneticSampler, hypervolume

SCRIPT = Script(
    __file__, __doc__, quick="2 seeds, 200 epochs", anew=True, of_the_machine=False
)
BUDGETS, MAIN, SEEDS, PATIENCE = (200, 400, 640), 400, 20, 3
PRUNED = optuna.trial.TrialState.PRUNED
SAMPLERS: dict[str, Callable[[int], Any]] = {
    "GeneticSampler": lambda seed: GeneticSampler(seed=seed),
    "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def search(sampler: str, seed: int, epochs: int, prune: bool) -> dict[str, list]:
    """Hypervolume and epochs in all after each trial."""
    table = digits_table.load()
    sizes = (table.latency_ms, table.parameters)
    worst = [table.errors[..., -1].max(), *(np.log10(v.max()) for v in sizes)]
    instance = SAMPLERS[sampler](seed)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=instance)
    pruner, points = DominationPruner(), []
    total, volume = [0], [0.0]
    while total[-1] < epochs:
        trial = study.ask(table.space)
        values, count = train(table, trial, pruner if prune else None)
        if count == digits_table.EPOCHS:
            points.append(values)
            study.tell(trial, values)
        else:
            study.tell(trial, state=PRUNED)
        total.append(total[-1] + count)
        volume.append(hypervolume(points, worst) if points else 0.0)
    return {"spent": total[1:], "volume": volume[1:]}


def train(table, trial, pruner: DominationPruner | None) -> tuple[list[float], int]:
    """A trial's last values and its number of epochs."""
    metrics = table.lookup(trial.params)
    sizes = [float(np.log10(metrics[k])) for k in ("latency_ms", "parameters")]
    for epoch, error in enumerate(metrics["errors"], start=1):
        values, last = [error, *sizes], epoch == digits_table.EPOCHS
        # after the last epoch there is nothing to save
        if pruner and not last and pruner.report(trial, epoch, values):
            break
    return values, epoch


def best_within(run: dict, budget: int) -> tuple[float, int]:
    """The hypervolume within the budget, and the epochs at which it was first reached."""
    within = [
        v for s, v in zip(run["spent"], run["volume"], strict=True) if s <= budget
    ]
    best = max(within)
    return best, run["spent"][within.index(best)]


def ratio(plain: dict, pruned: dict, budget: int) -> float:
    """Epochs without pruning over epochs with it, to the hypervolume of the former."""
    best, without = best_within(plain, budget)
    pairs = zip(pruned["spent"], pruned["volume"], strict=True)
    enough = [epochs for epochs, volume in pairs if volume >= best - 1e-12]
    within = [epochs for epochs in enough if epochs <= PATIENCE * budget]
    return without / within[0] if within else 0.0


def median_row(what: str, unit: str, values: list[float], target: float | None) -> Row:
    return Row(
        claim="C11",
        source="ours",
        what=what,
        unit=unit,
        better="higher",
        target=target,
        note=f"{sum(v == 0 for v in values)} of {len(values)} seeds at 0",
        **vars(bootstrap(values, np.median)),
    )


def rows_of(
    sampler: str, pairs: list[tuple[dict, dict]], budgets: tuple[int, ...]
) -> Iterator[Row]:
    for budget in budgets:
        place = f"{sampler}, {budget} epochs"
        ratios = [ratio(plain, pruned, budget) for plain, pruned in pairs]
        target = 1.5 if (sampler, budget) == ("GeneticSampler", MAIN) else None
        what = f"{place}: those without pruning over those with it, same hypervolume"
        yield median_row(what, "x fewer epochs", ratios, target)
        gains = [
            best_within(b, budget)[0] - best_within(a, budget)[0] for a, b in pairs
        ]
        what = f"{place}: hypervolume with pruning minus without"
        yield median_row(what, "hypervolume", gains, None)


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    budgets = BUDGETS[:1] if run.quick else BUDGETS
    runs = run.finished_runs()
    for sampler in SAMPLERS:
        pairs = []
        for seed in range(2 if run.quick else SEEDS):
            pair = []
            for prune in (False, True):
                epochs = max(budgets) * (PATIENCE if prune else 1)
                key = {"sampler": sampler, "seed": seed, "prune": prune}
                key |= {"epochs": epochs}
                values = (sampler, seed, epochs, prune)
                pair.append(runs.once(key, lambda v=values: search(*v)))
            pairs.append(tuple(pair))
        yield from rows_of(sampler, pairs, budgets)


if __name__ == "__main__":
    SCRIPT.main(measure)
