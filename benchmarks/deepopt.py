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
the matrices' and the rest's, have both instead of the second. On solar, where a new head
joins layers that are trained already, all have a sixth: the learning rate of what is no
matrix over that of the matrices, in steps of 4. A search starts from the same kind of
middle for each, walks along one axis after another to a better neighbor, and ends when
no neighbor on any axis is better, or after 14 configurations. AdamW's goes on, up to 40,
until its optimum is interior, which is to its favor. AdamW is tuned at T steps, the
others at T / 2. A control shows how far such a search can be trusted: AdamW once more,
tuned and raced as the others are; it should come out near 1.

Final, on seeds 1 to 5 and the test part, which decided nothing before. The target is
AdamW's mean loss at T. Each other contestant is run at budgets on the ladder 0.2, 0.25,
0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 0.95, 1.2 T, each a run of its own with its own schedule:
from 0.5 T (control: 0.95 T) down while the target is reached, else up, until it lies
between two neighbors; DeepOpt at one more on either side. Steps to the target: a line in
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
2.239 (validation, T / 2). Axes were made longer where a search ended at their end (first
beta, decay, on flights the second beta), and AdamW's limit was 28 before flights asked
for more; final runs began after that, but for AdamW's on poems and fashion.

Solar was run a second time. The first, without its sixth axis, was a miss: with 1.2 T
DeepOpt did not reach the target. Tries on validation, seeds 100 to 103, about 130 runs,
showed why: with a smaller rate for the head it did within 0.6 T, but AdamW gained as much
by one. So the axis was given to all, and everything on solar was tuned and raced anew;
the first run's lines are in the file's history.

Finished runs are lines in `results/deepopt.jsonl`; two processes run them. `--quick`:
flights alone, 8 configurations, seeds 1 to 3.

Added later, and reckoned from the same runs: "not above the best peer's by more than one
standard error" rewarded noise, since a large error excuses a large difference. In its
place stands the difference itself: DeepOpt's steps less those of the best peer on the
task, in AdamW's steps, with its 95 % interval (Student's; the same resampled seeds on
both sides). Target: at most 0. `--speed` reads the times of a step once more, with the
runs that are there, as one reading of the speed rows. `--rows` makes the rows from the
finished runs of any machine and measures nothing.

Added later: four more peers of pytorch-optimizer, tuned and raced as the others. NorMuon
and AdaMuon take the place of PyTorch's Muon, with their learning rate adjusted as
Moonlight's. Kron has no factor longer than 2048 and, as its fifth axis, how often a
preconditioner is updated. SCION takes the sign for tables and heads and the spectral norm
elsewhere, and has the ratio of the two radii as its fifth axis. Before their first search
each was run with 150 steps and three or four learning rates on flights, validation part,
seed 100, to start the searches of Kron and SCION within their grids.

Added later: four ideas of the public race, each added to DeepOpt
(`models/optimizer_ideas.py`), on flights, where a run takes least; tuned and raced as the
others. Seen before, with DeepOpt's settings on the validation part, seeds 100 to 102, as a
factor of its steps on flights (and fashion): the mean of the last tenth or fifth of the
weights 0.97 to 0.99 (0.97 to 0.99), a floor of half the mean length 1.00, SOAP's
preconditioner 1.03; above 1 is better.

Added later: the machines, and DeepOpt's steps. The first runs are of an AMD processor;
AdaMuon's, Kron's, the four ideas' and most of SCION's are of an Intel one. Repeated on the
second, by code that is not kept, AdamW's loss on flights was the same to seven digits. On
fashion twelve runs (of AdamW, DeepOpt, Muon, NorMuon and SCION, their first seeds) had a
test loss lower by 0.0068, standard error 0.0023: small differences grow there, and what ran
on the second machine is rather favored. DeepOpt's step was made faster after its runs, in
blocks of rows, which changes no weight, and with bfloat16 for longer matrices on processors
with AMX.

Added later: choices were made on poems, flights and bacteria while DeepOpt took its form,
and solar's axes after a race on its test part. What DeepOpt reaches on these tasks is
information, and what it misses stays missed; fashion, on which nothing was chosen, decides.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from harness.script import Run, Script
from models.optimizer_tasks import TASKS
from models.optimizers import CONTESTANTS, PEERS, VARIANTS, axes_of, others, variants
from racing import race
from racing.race import LADDER
from racing.rows import summarize

from deepseek_learn.ledger.rows import Row
from deepseek_learn.optim import tune

SCRIPT = Script(
    __file__,
    __doc__,
    quick="one task, fewer runs",
    anew=True,
    speed=True,
    flags={"rows": "rows from finished runs only"},
)
SEEDS, CONFIGURATIONS, MOST = 5, 14, 40
ROUNDS = 50


class Bench:
    """One mode of the benchmark: its tasks, the extent of the protocol, its file."""

    def __init__(self, quick: bool, anew: bool = False, anywhere: bool = False):
        self.quick = quick
        self.tasks = ("flights",) if quick else tuple(TASKS)
        self.seeds = range(1, (3 if quick else SEEDS) + 1)
        self.runs = SCRIPT.runs(quick, anew, anywhere)
        self.finished_only = anywhere

    def reload(self) -> None:
        """Reload the runs that the worker processes have written."""
        self.runs = SCRIPT.runs(self.quick)

    def loss(self, task, name: str, c: dict, steps: int, seed: int, part: str) -> float:
        """The loss of one run, computed now or read from a finished run."""
        contestant = CONTESTANTS.get(name) or VARIANTS[name]
        key = {"task": task.name, "optimizer": name, "steps": steps, "seed": seed}

        def measure() -> dict:
            if self.finished_only:
                raise SystemExit(
                    f"{name} on {task.name} has no run of {steps} steps with seed {seed} "
                    f"yet: run benchmarks/deepopt.py first"
                )
            return race.run(task, contestant, c, steps, seed)

        return self.runs.once(key | {"settings": c}, measure)[part]

    def tuned(self, task, name: str) -> dict[str, Any]:
        """The best settings of a contestant, from a new or a finished search."""
        axes, start = axes_of(task, name)
        steps = task.steps if name == "adamw" else task.steps // 2
        most = 8 if self.quick else MOST if name == "adamw" else CONFIGURATIONS

        def loss(c: dict) -> float:
            return self.loss(task, name, c, steps, 0, "validation")

        def search() -> dict:
            tuned = tune(axes, start, loss, most)
            count = len(tuned.trials)
            return {"best": tuned.best, "tried": count, "interior": tuned.interior}

        return self.runs.once({"task": task.name, "search": name}, search)

    def mean(self, task, name: str, c: dict, steps: int) -> float:
        return statistics.mean(
            self.loss(task, name, c, steps, seed, "test") for seed in self.seeds
        )

    def race(self, task, name: str, like: str = "") -> None:
        """All final runs of a contestant, or of a variant with another's settings."""
        target_settings = self.tuned(task, "adamw")["best"]
        target = self.mean(task, "adamw", target_settings, task.steps)
        c = self.tuned(task, like or name)["best"]
        ladder, first = budgets(task), 0.95 if name == "control" else 0.5

        def loss(steps: int) -> float:
            return self.mean(task, name, c, steps)

        below, above = race.bracket(ladder, target, loss, LADDER.index(first))
        if name == "deepopt":  # one more budget on each side tightens the interval
            for i in {below - 1, above + 1} & set(range(len(ladder))):
                loss(ladder[i])


def budgets(task) -> list[int]:
    return [round(share * task.steps) for share in LADDER]


def job(quick: bool, kind: str, task_name: str, name: str) -> None:
    """The work of one process."""
    torch.set_num_threads(1)
    do(Bench(quick), kind, task_name, name)


def do(bench: Bench, kind: str, task_name: str, name: str) -> None:
    """A search, or the final runs of one contestant."""
    task = TASKS[task_name]()
    if kind == "search":
        bench.tuned(task, name)
    elif name == "adamw":
        bench.mean(task, name, bench.tuned(task, name)["best"], task.steps)
    else:
        bench.race(task, name, "deepopt" if name in VARIANTS else "")


def everything(bench: Bench) -> list[list[tuple[str, str, str]]]:
    """The jobs in three rounds; jobs within a round are independent."""
    adamw = [("final", task, "adamw") for task in bench.tasks]
    own = {task: others(task, bench.quick) for task in bench.tasks}
    searches = [("search", t, n) for t in bench.tasks for n in ("adamw", *own[t])]
    finals = [
        ("final", task, name)
        for task in bench.tasks
        for name in (*own[task], *variants(task))
    ]
    return [searches, adamw, finals]


def speed(task) -> dict[str, Any]:
    """Processor ms of a step and of the optimizer alone, contestants interleaved."""
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


def in_processes(work: Callable, jobs: list[tuple]) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for future in [pool.submit(work, *job) for job in jobs]:
            future.result()


def measure(run: Run) -> list[Row]:
    torch.set_num_threads(1)
    reuse = run.speed or run.has("rows")  # losses do not depend on the machine
    bench = Bench(run.quick, run.anew and not reuse, anywhere=reuse)
    if not reuse:
        for jobs in everything(bench):
            in_processes(job, [(run.quick, *what) for what in jobs])
        bench.reload()
    else:  # fails if a search or a race is not finished
        for jobs in everything(bench):
            for what in jobs:
                do(bench, *what)
    paces, once = {}, bench.runs.again if run.speed else bench.runs.once
    for name in bench.tasks:
        key = {"task": name, "speed": ROUNDS}
        paces[name] = once(key, lambda name=name: speed(TASKS[name]()))
    facts = {"date": max(line["date"] for line in bench.runs.rows)}
    facts["machine"] = next(iter(paces.values()))["machine"]
    return [replace(row, **facts) for row in summarize(bench, paces)]


if __name__ == "__main__":
    SCRIPT.main(measure)
