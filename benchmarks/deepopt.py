"""DeepOpt against a tuned AdamW and three peers, on five tasks: steps, time, bytes.

    python benchmarks/deepopt.py [--quick] [--anew]

Protocol. Tasks (`models/optimizer_tasks.py`), with the steps T of AdamW and the batch:
poems, a byte-level transformer, 506 k parameters, T 300, 24 windows of 96 bytes; fashion,
a residual network on 8,000 pictures, 78 k, T 250, 128; solar, the last stage and head of
the defect classifier on frozen ImageNet features, 1.02 M, T 100, 64; bacteria, a U-Net,
272 k, T 200, 16 tiles of 56 x 56; flights, embeddings and three layers on a table of
327,346 flights, 164 k, T 600, 1024. No clipping; ten steps of warm-up for all; batch
norms' statistics are taken anew before a loss is measured. One thread.

Contestants (`models/optimizers.py`): AdamW (PyTorch's, fused), DeepOpt (defaults but for
what is tuned), PyTorch's Muon on the same matrices as DeepOpt, with AdamW on the rest,
SOAP and Schedule-Free AdamW (both of pytorch-optimizer). Vectors are not decayed.

Tuning, on seed 0 and the validation part. Each contestant has five axes: learning rate
in steps of 2, first and second beta, weight decay, schedule (cosine, linear, constant
then falling; Schedule-Free: the warm-up). DeepOpt and Muon, which have two first betas,
the matrices' and the rest's, have both instead of the second. A search starts from the
same kind of middle for each, walks along one axis after another to a better neighbour,
and ends when no neighbour on any axis is better, or after 14 configurations. AdamW's
goes on, up to 28, until its optimum is interior, which is to its favour. AdamW is tuned
at T steps, the others at T / 2. A control shows how far such a search can be trusted:
AdamW once more, tuned and raced as the others are; it should come out near 1.

Final, on seeds 1 to 5 and the test part, which decided nothing before. The target is
AdamW's mean loss at T. Each other contestant is run at budgets on the ladder 0.2, 0.25,
0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 0.95, 1.2 T, each a run of its own with its own schedule:
from 0.5 T (control: 0.95 T) down while the target is reached, else up, until it lies
between two neighbours; DeepOpt at one more on either side. Steps to the target: a line in
the loss over the logarithm of the steps. Where 1.2 T does not reach, 1.2 stands as the
least it can be. Standard errors: of the logarithm, from 2,000 resamplings of the seeds,
the same for both sides; outside the budgets run the last line is continued. Intervals:
Student's, 95 %.

Time. A step of each contestant in turn, 50 rounds in one process with nothing beside it,
processor time; ratios of sums over 10 rounds (SOAP's costly step comes every tenth),
medians. Time to the target = ratio of steps x ratio of step times. Bytes are those of the
tensors in the optimizer's state after a step. Variants of DeepOpt, with its settings: int8
state on every task, `rarely_active` on flights and poems.

Targets, stated before the run. Steps at most 0.60 of AdamW's on every task, geometric
mean at most 0.5; time at most 0.67 where AdamW's step takes 25 ms or more; state at most
2.7 bytes a parameter (int8: 1.9); steps not above the best peer's by more than one
standard error; the optimizer's own time at most Muon's. The guide: training 40 % more
efficient, read as time to the same loss: AdamW's over ours at least 1.4, for DeepOpt, and
for what grouping by activity adds to it.

Seen before, on seeds 100 and 101 and the validation part, while DeepOpt took its form:
a few configurations of AdamW and DeepOpt on all five tasks, about seventy runs; one
variance a row instead of an entry, no momentum for rarely active rows, and four
polynomials instead of five were chosen on poems, flights and bacteria; solar's T came
down from 200, where AdamW overfitted, and its views up from 4. Flights was also seen in
a try of `--quick`. DeepOpt's first momentum became an axis, as it is Muon's, after the
searches on poems: its second beta was one before, and its loss there 2.246, Muon's
2.239 (validation, T / 2).

Finished runs are lines in `results/deepopt.jsonl`; two processes run them. `--quick`:
flights alone, 8 configurations, seeds 1 to 3.
"""

import argparse
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import race
from models.optimizer_tasks import TASKS
from models.optimizers import CONTESTANTS, VARIANTS
from models.runs import Runs

from deepseek_learn.course.results import write_result
from deepseek_learn.optim import tune

RESULTS = Path(__file__).parent / "results"
LADDER = (0.2, 0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 0.95, 1.2)
PEERS = ("muon", "soap", "free")
OTHERS = ("deepopt", *PEERS, "control")
SEEDS, CONFIGURATIONS, MOST = 5, 14, 28
ROUNDS, BLOCK = 50, 10
STEPS, MEAN_STEPS, TIME, SLOW_MS = 0.60, 0.5, 0.67, 25.0
BYTES, INT8_BYTES, GUIDE = 2.7, 1.9, 1.4


class Bench:
    """One mode of the benchmark: its tasks, how much of the protocol, its file."""

    def __init__(self, quick: bool, anew: bool = False):
        self.quick = quick
        self.tasks = ("flights",) if quick else tuple(TASKS)
        self.seeds = range(1, (3 if quick else SEEDS) + 1)
        self.path = RESULTS / ("quick" if quick else "") / "deepopt.jsonl"
        self.runs = Runs(self.path, __doc__, anew)

    def reload(self) -> None:
        """Read what the processes have written."""
        self.runs = Runs(self.path, __doc__)

    def loss(self, task, name: str, c: dict, steps: int, seed: int, part: str) -> float:
        """The loss of one run, made now or before."""
        contestant = CONTESTANTS.get(name) or VARIANTS[name]
        key = {"task": task.name, "optimizer": name, "steps": steps, "seed": seed}
        made = lambda: race.run(task, contestant, c, steps, seed)  # noqa: E731
        return self.runs.once(key | {"settings": c}, made)[part]

    def tuned(self, task, name: str) -> dict[str, Any]:
        """The best settings of a contestant, searched now or before."""
        contestant = CONTESTANTS[name]
        steps = task.steps if name == "adamw" else task.steps // 2
        most = 8 if self.quick else MOST if name == "adamw" else CONFIGURATIONS

        def loss(c: dict) -> float:
            return self.loss(task, name, c, steps, 0, "validation")

        def found() -> dict:
            tuned = tune(contestant.axes, contestant.start, loss, most)
            tried = len(tuned.tried)
            return {"best": tuned.best, "tried": tried, "interior": tuned.interior}

        return self.runs.once({"task": task.name, "search": name}, found)

    def mean(self, task, name: str, c: dict, steps: int) -> float:
        return statistics.mean(
            self.loss(task, name, c, steps, seed, "test") for seed in self.seeds
        )

    def raced(self, task, name: str, like: str = "") -> None:
        """All final runs of a contestant, or of a variant with the settings of another."""
        target_settings = self.tuned(task, "adamw")["best"]
        target = self.mean(task, "adamw", target_settings, task.steps)
        c = self.tuned(task, like or name)["best"]
        ladder, first = budgets(task), 0.95 if name == "control" else 0.5

        def loss(steps: int) -> float:
            return self.mean(task, name, c, steps)

        missed, reached = race.bracket(ladder, target, loss, LADDER.index(first))
        if name == "deepopt":  # one more on each side makes the interval surer
            for i in {missed - 1, reached + 1} & set(range(len(ladder))):
                loss(ladder[i])


def budgets(task) -> list[int]:
    return [round(share * task.steps) for share in LADDER]


def variants(task_name: str) -> list[str]:
    return ["int8", *(["rows"] if task_name in ("flights", "poems") else [])]


def job(quick: bool, kind: str, task_name: str, name: str) -> None:
    """One process's work: a search, or the final runs of one contestant."""
    torch.set_num_threads(1)
    bench, task = Bench(quick), TASKS[task_name]()
    if kind == "search":
        bench.tuned(task, name)
    elif name == "adamw":
        bench.mean(task, name, bench.tuned(task, name)["best"], task.steps)
    else:
        bench.raced(task, name, "deepopt" if name in VARIANTS else "")


def everything(bench: Bench) -> list[list[tuple[str, str, str]]]:
    """The jobs in three rounds: none depends on another of its round."""
    adamw = [("final", task, "adamw") for task in bench.tasks]
    searches = [("search", t, name) for t in bench.tasks for name in CONTESTANTS]
    finals = [
        ("final", task, name)
        for task in bench.tasks
        for name in (*OTHERS, *variants(task))
    ]
    return [searches, adamw, finals]


def speed(task) -> dict[str, Any]:
    """Processor ms of a step and of the optimizer alone, contestants in turn."""
    racers = {}
    for name in ("adamw", "deepopt", *PEERS, *variants(task.name)):
        contestant, model = CONTESTANTS.get(name) or VARIANTS[name], task.model(0)
        optimizers = contestant.build(model, contestant.start, task.steps)
        racers[name] = model, optimizers
    stream, whole, own = task.batches(0), [], []
    for turn in range(ROUNDS + 3):
        batch, step, alone = next(stream), {}, {}
        for name, (model, optimizers) in racers.items():
            begin = time.process_time()
            for optimizer in optimizers:
                optimizer.zero_grad()
            task.loss(model, batch).backward()
            middle = time.process_time()
            for optimizer in optimizers:
                optimizer.step()
            end = time.process_time()
            step[name], alone[name] = 1e3 * (end - begin), 1e3 * (end - middle)
        if turn >= 3:
            whole.append(step)
            own.append(alone)
    bytes_each = {
        name: sum(map(race.state_bytes, optimizers))
        / sum(p.numel() for p in model.parameters())
        for name, (model, optimizers) in racers.items()
    }
    return {"step_ms": whole, "own_ms": own, "bytes": bytes_each}


def curve(bench: Bench, task, name: str) -> dict[int, list[float]]:
    """Budget → test losses by seed, of the final runs that are there."""
    found: dict[int, dict[int, float]] = {}
    for run in bench.runs.rows:
        mine = run.get("task") == task.name and run.get("optimizer") == name
        if mine and run["seed"] in bench.seeds:
            found.setdefault(run["steps"], {})[run["seed"]] = run["test"]
    whole = {b: v for b, v in found.items() if len(v) == len(bench.seeds)}
    return {b: [whole[b][s] for s in bench.seeds] for b in sorted(whole)}


def block_ratio(rounds: list[dict], over: str, under: str) -> float:
    """Median over blocks of `BLOCK` rounds of the ratio of their sums."""
    blocks = [rounds[i : i + BLOCK] for i in range(0, len(rounds), BLOCK)]
    sums = [[sum(r[name] for r in block) for name in (over, under)] for block in blocks]
    return statistics.median(a / b for a, b in sums)


def row(claim: str, what: str, measured: float | None, **facts) -> dict:
    """A row of the ledger; "better" is "lower" and "source" "ours" if not said."""
    empty = {"source": "ours", "unit": "ratio", "target": None, "better": "lower"}
    return empty | {"claim": claim, "what": what, "measured": measured} | facts


def task_rows(bench: Bench, task, ratios: dict, pace: dict) -> list[dict]:
    """Steps, time and bytes on one task; fills `ratios` name → (point, resamplings)."""
    adamw = curve(bench, task, "adamw")[task.steps]
    names = [*OTHERS, *variants(task.name)]
    for name in names:
        found = curve(bench, task, name)
        facts = task.steps, LADDER[-1], task.name
        ratios[name] = race.steps_ratio(adamw, found, *facts)
    best = min(PEERS, key=lambda name: ratios[name][0])
    at, n = f"{task.name}: ", len(bench.seeds)
    rows = []
    for name in names:
        title = (CONTESTANTS.get(name) or VARIANTS[name]).title
        point, again = ratios[name]
        own = {"target": STEPS if name == "deepopt" else None, "n": n}
        peer = {"peer": CONTESTANTS[best].title, "peer_measured": ratios[best][0]}
        rows.append(
            row("C8", f"{at}{title}, steps to AdamW's loss over AdamW's", point)
            | race.interval(point, again, n)
            | own
            | (peer if name == "deepopt" else {})
            | {"note": note(bench, task, name, point)}
        )
    point, again = ratios["deepopt"]
    gap = np.log(again) - np.log(ratios[best][1])
    error = max(race.error_of(np.exp(gap), n), 1e-9)
    behind = (math.log(point) - math.log(ratios[best][0])) / error
    rows.append(
        row("C8", f"{at}steps above the best peer's, in standard errors", behind)
        | {"target": 1.0, "unit": "standard errors", "n": n}
        | {"peer": CONTESTANTS[best].title, "peer_measured": 0.0}
    )
    return rows + pace_rows(bench, task, ratios, pace)


def note(bench: Bench, task, name: str, point: float) -> str:
    """The losses behind a ratio, the settings, how they were found."""
    searched = "deepopt" if name in VARIANTS else name
    found = bench.tuned(task, searched)
    losses = {b: statistics.mean(v) for b, v in curve(bench, task, name).items()}
    target = statistics.mean(curve(bench, task, "adamw")[task.steps])
    words = f"batch {task.batch}; AdamW {target:.4f} at {task.steps} steps; "
    words += ", ".join(f"{loss:.4f} at {b}" for b, loss in losses.items())
    words += f"; settings {found_in_words(searched, found)}"
    words += f"; AdamW's {found_in_words('adamw', bench.tuned(task, 'adamw'))}"
    return words + ("; never reached: at least" if point >= LADDER[-1] else "")


def found_in_words(name: str, found: dict) -> str:
    """The settings of a search, how many were tried, whether any lies at an end."""
    best, axes = found["best"], CONTESTANTS[name].axes
    words = " ".join(f"{k} {v:.3g}" if k != "schedule" else v for k, v in best.items())
    words += f" of {found['tried']} tried, "
    words += "interior" if found["interior"] else "not proved interior"
    ordered = {k: v for k, v in axes.items() if k != "schedule"}
    ends = [k for k, values in ordered.items() if best[k] in (values[0], values[-1])]
    return words + (f" but at the end of {', '.join(ends)}" if ends else "")


def pace_rows(bench: Bench, task, ratios: dict, pace: dict) -> list[dict]:
    """Time to the target, state, the optimizer's own time."""
    at, rows = f"{task.name}: ", []
    adamw_ms = statistics.median(r["adamw"] for r in pace["step_ms"])
    slow = adamw_ms >= SLOW_MS
    cost = f"AdamW's step takes {adamw_ms:.1f} ms"
    for name in ("deepopt", *PEERS, *variants(task.name)):
        title = (CONTESTANTS.get(name) or VARIANTS[name]).title
        per_step = block_ratio(pace["step_ms"], name, "adamw")
        point, again = ratios[name][0] * per_step, ratios[name][1]
        target = TIME if name == "deepopt" and slow else None
        what = f"{at}{title}, time to AdamW's loss over AdamW's"
        words = f"{cost}, {title}'s {per_step:.2f} times as long"
        facts = {"target": target, "n": len(bench.seeds), "note": words}
        facts |= race.interval(point, again, len(bench.seeds))
        rows.append(row("C8", what, point) | facts)
        limit = {"deepopt": BYTES, "int8": INT8_BYTES}.get(name)
        what = f"{at}{title}, state"
        facts = {"unit": "bytes a parameter", "target": limit}
        facts |= {"peer": "AdamW", "peer_measured": pace["bytes"]["adamw"]}
        rows.append(row("C8", what, pace["bytes"][name]) | facts)
    what = f"{at}DeepOpt's own time a step over Muon's with AdamW"
    own = block_ratio(pace["own_ms"], "deepopt", "muon")
    rows.append(row("C8", what, own, target=1.0, n=ROUNDS))
    return rows + guide_rows(bench, task, ratios, pace)


def guide_rows(bench: Bench, task, ratios: dict, pace: dict) -> list[dict]:
    """The guide's 40 %, as AdamW's time over ours to one loss."""
    n = len(bench.seeds)
    guide = {"source": "guide", "target": GUIDE, "better": "higher"}
    per_step = block_ratio(pace["step_ms"], "deepopt", "adamw")
    point, again = ratios["deepopt"]
    what = f"{task.name}: AdamW's time to its loss over DeepOpt's"
    gain = 1 / (point * per_step)
    rows = [row("C3", what, gain) | guide | race.interval(gain, again, n)]
    if "rows" in ratios:
        beside = block_ratio(pace["step_ms"], "deepopt", "rows")
        gain = ratios["deepopt"][0] / ratios["rows"][0] * beside
        many = ratios["deepopt"][1] / ratios["rows"][1]
        what = f"{task.name}: what grouping by activity adds, time to one loss"
        rows.append(row("C3", what, gain) | guide | race.interval(gain, many, n))
    return rows


def summarise(bench: Bench, paces: dict[str, dict]) -> list[dict]:
    """All rows of the ledger."""
    rows, points, resampled = [], [], []
    for name in bench.tasks:
        ratios: dict[str, tuple[float, np.ndarray]] = {}
        rows += task_rows(bench, TASKS[name](), ratios, paces[name])
        points.append(ratios["deepopt"][0])
        resampled.append(np.log(ratios["deepopt"][1]))
    together = np.exp(np.mean(resampled, axis=0))
    what = "geometric mean over the tasks, DeepOpt's steps over AdamW's"
    mean = statistics.geometric_mean(points)
    bounds = race.interval(mean, together, len(bench.seeds))
    return [row("C8", what, mean, target=MEAN_STEPS, **bounds), *rows]


def in_processes(work: Callable, jobs: list[tuple]) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for future in [pool.submit(work, *job) for job in jobs]:
            future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one task, fewer runs")
    parser.add_argument("--anew", action="store_true", help="take no finished run over")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.quick, arguments.anew)
    for jobs in everything(bench):
        in_processes(job, [(arguments.quick, *what) for what in jobs])
    bench.reload()
    paces = {}
    for name in bench.tasks:
        task = TASKS[name]()
        paces[name] = bench.runs.once(
            {"task": name, "speed": ROUNDS}, lambda task=task: speed(task)
        )
    command = "python benchmarks/deepopt.py"
    mode = "quick" if arguments.quick else "full"
    rows = summarise(bench, paces)
    write_result("deepopt", rows, command, mode, protocol=__doc__)
    for each in rows:
        print(f"{each['claim']} {each['what']}: {each['measured']:.3f}")


if __name__ == "__main__":
    main()
