"""Attackers among hospitals that train together: FedAvg, and the library's default.

    python benchmarks/federated_attacks.py [--quick]

Protocol. The classifier of candidates of `federated_hospitals.py`: 6 rounds of 10 steps, lr
0.01, three seeds. Either the three hospitals (8 patients a step) with one attacker, another
one for each seed, or their patients in seven hospitals (4 a step; north in three, harbor
and valley in two) with two attackers, other ones for each seed. An attacker sends, in each
round, -9 times its honest update (below the screen, which refuses 10 times the others'
norm); -1 times; -1 times with a claim of 10,000 patients (FedAvg only, since a median
counts no patients); or what it learns from swapped labels. Of the seven, two also collude:
both send -1 times the mean of their two updates. In the final vote, attackers lie. *FedAvg*
is a mean by patients in which each hospital may count for up to 10,000, as the library's
default was; *median* is the default now: the median of each weight (`strategy="fedmedian"`)
of updates that are clipped to the median norm.

The deciding AUROC is that on 40 new patients of *elsewhere*, against the truth: a hospital
with another scanner, which never trains, and on whose new patients no choice was made. The
mean of the three training hospitals on the package's test patients is stored beside it and
has no target, since the median was preferred to a trimmed mean after a look at them, with
other seeds. Intervals are Student's over the seeds.

Targets, stated before the run. Median, under each attack: AUROC of at least 0.85, and at
most 0.03 below the median's without attackers. Without attackers: the median's AUROC is at
most 0.01 below FedAvg's. Each model with an AUROC below 0.5 is refused by an exception, and
no run without attackers is. All figures are those of phantoms. `--quick`: one seed, one
round of 2 steps, the package's patients of *elsewhere*.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from harness.interval import share, student
from harness.runs import Runs
from harness.script import BENCHMARKS, Run, Script
from models import federated_attacks as attacks_of
from models import federated_runs
from models.federated_attacks import (
    CLAIM,
    CLAIMING,
    COLLUDING,
    NINEFOLD,
    REVERSED,
    SWAPPED,
)

from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="one seed, one round", anew=True)
SEEDS = (10, 11, 12)
ENOUGH, BELOW, COST, CHANCE = 0.85, -0.03, -0.01, 0.5
FEDAVG, MEDIAN = "FedAvg", "median"
NONE = "no attacker"
SIZES = {
    "1 of 3": (attacks_of.three, 8, (["north"], ["harbor"], ["valley"])),
    "2 of 7": (
        attacks_of.seven,
        4,
        (["north1", "harbor1"], ["north2", "valley1"], ["harbor2", "valley2"]),
    ),
}
PLACE = BENCHMARKS / ".venv" / "hospitals"
COMMON = {"claim": "C14", "source": "ours", "unit": "of 1", "better": "higher"}


def jobs() -> Iterator[tuple[str, str, str]]:
    """Each federation, its way to average, and the attack; the default's come first."""
    for attack in (NONE, NINEFOLD, REVERSED, SWAPPED):
        yield "1 of 3", MEDIAN, attack
    for attack in (NONE, NINEFOLD, REVERSED, SWAPPED, COLLUDING):
        yield "2 of 7", MEDIAN, attack
    for attack in (NONE, NINEFOLD, CLAIMING, SWAPPED):
        yield "1 of 3", FEDAVG, attack
    for attack in (NONE, NINEFOLD):
        yield "2 of 7", FEDAVG, attack


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs(anywhere=True)
    yield from rows({job: finished(runs, run.quick, *job) for job in jobs()})


def finished(runs: Runs, quick: bool, size: str, way: str, attack: str) -> list[dict]:
    """The runs of a job, one per seed."""
    return [
        runs.once(
            {"hospitals": size, "way": way, "attack": attack, "seed": seed},
            partial(train, quick, size, way, attack, seed),
        )
        for seed in (SEEDS[:1] if quick else SEEDS)
    ]


def train(quick: bool, size: str, way: str, attack: str, seed: int) -> dict:
    make, patients, attackers = SIZES[size]
    parts = make()
    steps, rounds = (2, 1) if quick else (10, 6)
    settings = {"rounds": rounds, "steps": steps, "patients": patients, "lr": 0.01}
    settings |= {"seed": seed} | {"strategy": "fedmedian"}
    if way == FEDAVG:
        claims = " ".join(f"{name}={CLAIM}" for name in parts)
        settings |= {"strategy": "fedavg", "registered": claims}
    bad = [] if attack == NONE else attackers[SEEDS.index(seed)]
    test = federated_runs.packaged()
    if not quick:
        test |= federated_runs.new_patients(PLACE, ["elsewhere"])
    with tempfile.TemporaryDirectory() as folder:
        return attacks_of.run(Path(folder), parts, bad, attack, settings, test)


def rows(done: dict[tuple[str, str, str], list[dict]]) -> Iterator[Row]:
    aurocs = {job: [run["auroc"] for run in runs] for job, runs in done.items()}
    for job, values in aurocs.items():
        size, way, attack = job
        what = f"AUROC of candidates elsewhere, {size}, {way}: {attack}"
        enough = ENOUGH if way == MEDIAN and attack != NONE else None
        own = mean(run["own_auroc"] for run in done[job])
        note = f"in the hospitals that train, {own:.3f}"
        yield over_seeds(what, values, target=enough, note=note)
    for (size, way, attack), values in aurocs.items():
        if attack == NONE:
            continue
        lost = differences(values, aurocs[size, way, NONE])
        target = BELOW if way == MEDIAN else None
        what = f"AUROC of candidates elsewhere, {size}, {way}: {attack} minus none"
        yield over_seeds(what, lost, target=target)
    for size in SIZES:
        cost = differences(aurocs[size, MEDIAN, NONE], aurocs[size, FEDAVG, NONE])
        what = "AUROC of candidates elsewhere, no attacker among "
        what += f"{size.split()[-1]}: median minus FedAvg"
        yield over_seeds(what, cost, target=COST)
    yield from refusals(done)


def refusals(done: dict[tuple[str, str, str], list[dict]]) -> Iterator[Row]:
    """Which fraction of the models is refused."""
    ruined = [r for runs in done.values() for r in runs if r["auroc"] < CHANCE]
    honest = [r for job, runs in done.items() for r in runs if job[2] == NONE]
    for what, group, better, target in (
        (
            f"refused models of those with an AUROC below {CHANCE}",
            ruined,
            "higher",
            1.0,
        ),
        ("refused models of those without attackers", honest, "lower", 0.0),
    ):
        facts = {"n": 0, "measured": None}
        if group:
            refused = sum(bool(run["raised"]) for run in group)
            facts = vars(share(refused, len(group)))
        facts |= {"better": better, "target": target, "note": f"{len(group)} models"}
        yield Row(**COMMON | {"what": what} | facts)


def differences(a: list[float], b: list[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def over_seeds(what: str, values: list[float], **more) -> Row:
    return Row(**COMMON | {"what": what} | vars(student(values)) | more)


if __name__ == "__main__":
    SCRIPT.main(measure)
