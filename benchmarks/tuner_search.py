"""How good a front a search finds in few trials, against Optuna's samplers.

    python benchmarks/tuner_search.py [--quick] [--anew]

Protocol. Hypervolume of all that was tried, after so many trials, in-memory storage,
one thread; seeds 0 to 19 for the problems with a target, 0 to 9 for the others, the same
for every sampler. All is minimized. Problems and references:

- ZDT1, ZDT2, ZDT3 (Zitzler, Deb & Thiele 2000): 10 dimensions, 2 objectives, (1.1, 1.1);
- DTLZ2, DTLZ7 (Deb et al. 2005): 10 dimensions, 3 objectives, (1.1, 1.1, 1.1) and
  (1.1, 1.1, 7); DTLZ2 also with noise of standard deviation 0.1 on what the sampler is
  told, where the values without noise count;
- mixed: a made-up function of floats, whole numbers, a stepped number and a category, on
  linear and logarithmic scales, two objectives, (2, 2);
- networks: the 1,152 really trained ones of `models/digits_table.py`; error after the
  last epoch, log10 of the latency, log10 of the parameters; reference: the table's worst.

Samplers: `GeneticSampler` as it comes; it without its surrogate; Optuna's TPE and random
search as they come; its NSGA-II with a population of 20. A sampler's time is processor
time in `ask` and `tell`, averaged over the first 200 trials.

Targets, stated before the run. ZDT1 after 200 trials: 0.6 (ideal 0.87; a prototype of
Optuna's NSGA-II gave 0.04). DTLZ2 and networks after 30, 60 and 100 trials: at least
TPE's, by the mean of the paired differences (the interval is Student's, 95 %). Time: at
most 20 ms a trial on ZDT1 and on DTLZ2. The others are for information: they show
whether the search was fitted to the problems that have a target.

Finished runs are lines in `results/tuner_search.jsonl`; `--anew` takes none over.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import torch
from harness.interval import student
from harness.runs import Runs, end_time
from harness.script import Run, Script
from models import digits_table
from tuning.problems import CUBE, MIXED, Problem, dtlz2, dtlz7, mixed, zdt
from tuning.problems import networks as table_problem

from deepseek_learn.ledger.rows import Row
from deepseek_learn.tuner import GeneticSampler, hypervolume

SCRIPT = Script(
    __file__, __doc__, quick="2 seeds, 30 trials", anew=True, of_the_machine=False
)
COUNTS = (30, 60, 100, 200)


def problems() -> list[Problem]:
    two, three = [1.1] * 2, [1.1] * 3
    more = {"counts": (100,), "seeds": 10}
    networks = table_problem("networks", digits_table)
    return [
        Problem("ZDT1", CUBE, lambda c: zdt(1, c), two, (100, 200)),
        Problem("DTLZ2", CUBE, dtlz2, three, COUNTS),
        replace(networks, counts=COUNTS[:3]),
        Problem("ZDT2", CUBE, lambda c: zdt(2, c), two, **more),
        Problem("ZDT3", CUBE, lambda c: zdt(3, c), two, **more),
        Problem("DTLZ7", CUBE, dtlz7, [1.1, 1.1, 7.0], **more),
        Problem("DTLZ2 with noise", CUBE, dtlz2, three, noise=0.1, **more),
        Problem("mixed", MIXED, mixed, [2.0, 2.0], COUNTS[:3], 10),
    ]


SAMPLERS: dict[str, Callable[[int], Any]] = {
    "GeneticSampler": lambda seed: GeneticSampler(seed=seed),
    "without surrogate": lambda seed: GeneticSampler(seed=seed, surrogate=False),
    "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "NSGA-II": lambda seed: optuna.samplers.NSGAIISampler(
        seed=seed, population_size=20
    ),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
# TPE beyond 200 trials takes minutes, and no target needs it
LONGEST = {"TPE": 100}


def search(problem: Problem, sampler: str, seed: int, counts: list[int]) -> dict:
    """Hypervolume after each count of trials, and the sampler's ms per trial."""
    directions = ["minimize"] * len(problem.reference)
    study = optuna.create_study(directions=directions, sampler=SAMPLERS[sampler](seed))
    noise = np.random.default_rng(seed)
    points, seconds, result = [], 0.0, {}
    for number in range(1, max(counts) + 1):
        start = time.process_time()
        trial = study.ask(problem.space)
        seconds += time.process_time() - start
        # in the order of the space; samplers may reorder
        config = {name: trial.params[name] for name in problem.space}
        points.append(problem.objectives(config))
        noisy = noise.normal(points[-1], problem.noise) if problem.noise else points[-1]
        start = time.process_time()
        study.tell(trial, [float(value) for value in noisy])
        seconds += time.process_time() - start
        if number in counts:
            result[f"at_{number}"] = hypervolume(points, problem.reference)
    return result | {"ms": 1000 * seconds / max(counts)}


def searches(runs: Runs, problem: Problem) -> dict[str, list[dict]]:
    """Sampler → its runs, one per seed."""
    runs_by_sampler: dict[str, list[dict]] = {name: [] for name in SAMPLERS}
    for seed in range(problem.seeds):
        for name in SAMPLERS:
            limit = LONGEST.get(name, max(COUNTS))
            counts = [count for count in problem.counts if count <= limit]
            if counts:
                key = {"problem": problem.name, "sampler": name, "seed": seed}
                key |= {"trials": max(counts)}
                values = (problem, name, seed, counts)
                runs_by_sampler[name].append(
                    runs.once(key, lambda v=values: search(*v))
                )
    return runs_by_sampler


def row(what: str, unit: str, values: list[float], better="higher", **facts) -> Row:
    mean = vars(student(values, "95 %, Student"))
    facts |= {"claim": "C11", "source": "ours", "better": better}
    return Row(what=what, unit=unit, **mean, **facts)


def rows_of(problem: Problem, runs: dict[str, list[dict]]) -> Iterator[Row]:
    """Our and each peer's hypervolume; at equal trials also the difference from TPE."""
    ours = runs["GeneticSampler"]
    for count in [c for c in problem.counts if f"at_{c}" in ours[0]]:
        yield from volume_rows(problem, count, runs)
    if problem.name in ("ZDT1", "DTLZ2"):
        what = f"{problem.name}: GeneticSampler's time, "
        what += f"mean of {ours[0]['trials']} trials"
        unit, times = "ms of processor a trial", [one["ms"] for one in ours]
        yield row(what, unit, times, "lower", target=20).at(end_time(*ours))


def volume_rows(
    problem: Problem, count: int, runs: dict[str, list[dict]]
) -> Iterator[Row]:
    """The rows after one number of trials, for the samplers that went so far."""
    at, place, unit = f"at_{count}", f"{problem.name}, {count} trials", "hypervolume"
    volumes = {
        name: [one[at] for one in runs_of_sampler]
        for name, runs_of_sampler in runs.items()
        if runs_of_sampler and at in runs_of_sampler[0]
    }
    target = 0.6 if (problem.name, count) == ("ZDT1", 200) else None
    for name, values in volumes.items():
        goal = target if name == "GeneticSampler" else None
        yield row(f"{place}: {name}", unit, values, target=goal)
    if "TPE" in volumes:
        pairs = zip(volumes["GeneticSampler"], volumes["TPE"], strict=True)
        gains = [a - b for a, b in pairs]
        target = 0.0 if problem.name in ("DTLZ2", "networks") else None
        what = f"{place}: GeneticSampler minus Optuna's TPE, the same seeds"
        yield row(what, unit, gains, target=target)


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    runs = run.finished_runs()
    for problem in problems():
        if run.quick:
            problem = replace(problem, seeds=2, counts=(30,))
        yield from rows_of(problem, searches(runs, problem))


if __name__ == "__main__":
    SCRIPT.main(measure)
