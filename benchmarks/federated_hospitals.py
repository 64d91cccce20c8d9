"""Hospitals that train together: against alone and pooled, with and without privacy.

    python benchmarks/federated_hospitals.py [--quick] [--part classifier attacks detector]

Protocol. The hospitals are those of `nodules.federated.hospitals`: north, harbor and valley
(160, 80 and 40 training patients) differ by scanner and reader; *elsewhere*, with the
external scanner, never trains. Models are judged on new patients, against the truth. All
learn with DeepOpt, with a fresh one in each round. Alone, a hospital makes as many steps as
it makes in a federation; with all data in one place, three times as many.

The package's test patients, which the lesson uses, were looked at when the settings were
chosen. So the benchmark has others, 40 per hospital, who are looked at once.

*classifier*: the small network of candidates, five seeds, 6 rounds of 10 steps of 8
patients (with a budget: 16 on average), lr 0.01; AUROC on 40 patients per hospital.
*attacks*: membership inference on these models (40 members and 40 others of each
hospital), and on valley's alone after 300 steps; gradient inversion on the first crop of 20
of the package's patients, 300 steps each. *detector*: the zoo's detector with GroupNorm,
one seed, 10 rounds of 80 steps of 4 patients, lr 0.002 (with a budget: 10 steps of 16
patients, lr 0.01); CPM in the whole scans of 20 patients per hospital, for a hospital alone
in its own and *elsewhere*. Budgets are per patient and hospital, delta = 0.0001, and their
noise differs from run to run.

Targets, stated before the run, for FedAvg (without a budget): at least 97 % of the pooled
CPM over all four hospitals; at each hospital, a higher CPM than that hospital alone; with
int8 updates, at least 3.5 times fewer bytes and a CPM that is at most 0.005 lower. The same
for the classifier's AUROC. With a budget, the advantage of membership inference is at most
the bound that epsilon gives. Intervals: Student's over the seeds or crops; for the
detector, 1,000 resamplings of the scans, which leave out that another seed would give
another network. Every figure is one of phantoms. `--quick`: one seed, one round of 2 steps,
2 crops, the package's patients, and no detector.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from statistics import mean

import torch
from harness.interval import student
from harness.runs import Runs
from harness.script import BENCHMARKS, Run, Script, Skip
from models import federated_runs as runs_of
from models import marks
from models.federated_runs import ALONE, POOLED, PRIVATE, WAYS, Plan

from deepseek_learn.files import atomic_write
from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.federated import attacks, hospitals
from deepseek_learn.solutions.federated.hospitals import HOSPITALS, TRAINING
from deepseek_learn.solutions.federated.learning import Local, train
from deepseek_learn.solutions.federated.tasks import TASKS
from deepseek_learn.solutions.nodules import evaluate, measure
from deepseek_learn.solutions.nodules.evaluate import Marked
from deepseek_learn.solutions.nodules.measure import Judged
from deepseek_learn.solutions.phantoms import scans

SCRIPT = Script(
    __file__,
    __doc__,
    quick="one seed, one round, no detector",
    anew=True,
    parts=("classifier", "attacks", "detector"),
)
SEEDS, SCANS, DELTA = 5, 20, 1e-4
FEDAVG, INT8 = "FedAvg", "FedAvg, int8 updates"
OF_POOLED, FEWER_BYTES, LOST = 0.97, 3.5, -0.005  # targets
LONG = 300  # steps of valley alone
OWN = dict(zip(ALONE, TRAINING, strict=True))
PLACE = BENCHMARKS / ".venv" / "hospitals"
COMMON = {"claim": "C14", "source": "ours", "unit": "of 1", "better": "higher"}


def measure_all(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs(anywhere=True)
    if "classifier" in run.parts or "attacks" in run.parts:
        ways = classifiers(runs, run.quick)
    if "classifier" in run.parts:
        yield from classifier_rows(ways)
    if "attacks" in run.parts:
        yield from attack_rows(runs, ways, run.quick)
    if "detector" in run.parts and not run.quick:
        yield from detector_rows(detectors(runs))


def test_patients(quick: bool) -> Callable[[], dict]:
    return runs_of.packaged if quick else partial(runs_of.new_patients, PLACE)


def small_plan(quick: bool) -> Plan:
    steps, rounds = (2, 1) if quick else (10, 6)
    return Plan("candidates", rounds, Local(steps, 8, 0.01), Local(steps, 16, 0.01))


def classifiers(runs: Runs, quick: bool) -> dict[str, list[dict]]:
    """The finished runs of the classifier: for each way, one per seed."""
    plan, seeds = small_plan(quick), range(1 if quick else SEEDS)
    return {
        way: [
            runs.once(
                {"classifier": way, "seed": seed},
                partial(runs_of.classifier, plan, way, seed, test_patients(quick)),
            )
            for seed in seeds
        ]
        for way in WAYS
    }


def classifier_rows(ways: dict[str, list[dict]]) -> Iterator[Row]:
    aurocs = {way: [run["auroc"] for run in each] for way, each in ways.items()}
    for way, values in aurocs.items():
        for name in HOSPITALS:
            estimate = student([each[name] for each in values])
            yield over_seeds(f"AUROC of candidates in {name}, {way}", estimate)
    both = list(zip(aurocs[FEDAVG], aurocs[POOLED], strict=True))
    ratios = [mean(a.values()) / mean(b.values()) for a, b in both]
    what = "AUROC of candidates, FedAvg over all data in one place, mean of hospitals"
    yield over_seeds(what, student(ratios), target=OF_POOLED)
    for way, name in OWN.items():
        pairs = zip(aurocs[FEDAVG], aurocs[way], strict=True)
        gain = student([a[name] - b[name] for a, b in pairs])
        what = f"AUROC of candidates in {name}, FedAvg minus alone"
        yield over_seeds(what, gain, target=0.0)
    pairs = zip(aurocs[INT8], aurocs[FEDAVG], strict=True)
    lost = student([mean(a.values()) - mean(b.values()) for a, b in pairs])
    what = "AUROC of candidates, int8 updates minus float32 ones, mean of hospitals"
    yield over_seeds(what, lost, target=LOST)
    yield from byte_rows(ways, "classifier")


def byte_rows(ways: dict[str, list[dict]], network: str) -> Iterator[Row]:
    """Bytes are counted, not sampled, so they have no interval."""
    full, small = (ways[way][0]["bytes"] for way in (FEDAVG, INT8))
    what = f"bytes of a float32 update over those of an int8 one, {network}"
    yield Row(
        **COMMON | {"unit": "x"}, what=what, measured=full / small, target=FEWER_BYTES
    )
    for way, size in ((FEDAVG, full), (INT8, small)):
        what = f"bytes of an update, {way}, {network}"
        yield Row(
            **COMMON | {"unit": "bytes", "better": "lower"}, what=what, measured=size
        )


def attack_rows(runs: Runs, ways: dict[str, list[dict]], quick: bool) -> Iterator[Row]:
    lower = {"better": "lower"}
    for way in (FEDAVG, *PRIVATE):
        estimate = student([run["advantage"] for run in ways[way]])
        bound = None
        if way in PRIVATE:
            bound = attacks.largest_advantage(PRIVATE[way], DELTA)
        what = f"advantage of membership inference, {way}"
        yield over_seeds(what, estimate, target=bound, **lower)
    seeds = range(1 if quick else SEEDS)
    alone = [
        runs.once({"overfit": "valley", "seed": seed}, partial(overfit, seed, quick))
        for seed in seeds
    ]
    what = f"advantage of membership inference, valley alone, {LONG} steps"
    yield over_seeds(what, student([run["advantage"] for run in alone]), **lower)
    count, steps = (2, 10) if quick else (20, 300)
    inverted = runs.once(
        {"inversions": count, "steps": steps},
        lambda: {"likeness": runs_of.inversions(count, steps)},
    )
    for name in inverted["likeness"][0]:
        values = [row[name] for row in inverted["likeness"]]
        what = f"likeness of a crop recovered from {name}"
        yield over_seeds(what, student(values), unit="correlation", **lower)


def overfit(seed: int, quick: bool) -> dict[str, float]:
    """Valley trains alone for long."""
    torch.manual_seed(seed)
    model, own = TASKS["candidates"].network(), hospitals.patients("valley")
    train(model, own, Local(2 if quick else LONG, 8, 0.01), seed)
    return runs_of.leak(model, ["valley"], test_patients(quick)())


def detectors(runs: Runs) -> dict[str, dict]:
    """The facts of each training, and the marks in the test scans of each hospital."""
    folders = {
        name: str(hospitals.make_scans(HOSPITALS[name], PLACE)) for name in TRAINING
    }
    local, private = Local(80, 4, 0.002), Local(10, 16, 0.01)
    plan = Plan("detector", 10, local, private, folders)
    facts = {way: trained(runs, plan, way) for way in WAYS}
    marked: dict[str, dict] = {way: {} for way in WAYS}
    for name in HOSPITALS:
        for way, rows in marked_by(runs, name).items():
            marked[way][name] = rows
    return {way: {"facts": facts[way], "marked": marked[way]} for way in WAYS}


def weights(way: str) -> Path:
    return PLACE / f"generator-{scans.GENERATOR}" / f"{way}.pt"


def key(way: str) -> dict:
    return {"detector": way, "generator": scans.GENERATOR}


def trained(runs: Runs, plan: Plan, way: str) -> dict:
    """The facts of a finished training, whose weights stay in a file."""

    def measure() -> dict:
        model, record = plan.train(way, 0)
        with atomic_write(weights(way)) as temporary:
            torch.save(model.state_dict(), temporary)
        return runs_of.facts(record)

    return runs.once(key(way) | {"trained": True}, measure)


@cache
def detector(way: str) -> torch.nn.Module:
    path = weights(way)
    if not path.exists():
        raise Skip(
            f"{path} is missing, with which some scans were marked; delete the lines "
            f"of {way!r} to train it anew."
        )
    network = TASKS["detector"].network()
    network.load_state_dict(torch.load(path))
    return network.eval()


def marked_by(runs: Runs, name: str) -> dict[str, list[Marked]]:
    """What each detector marks in a hospital's test scans, each generated once."""
    ways = [w for w in WAYS if w not in ALONE or name in (OWN[w], "elsewhere")]
    marked: dict[str, list[Marked]] = {way: [] for way in ways}
    for index in range(SCANS):
        scan = cache(partial(runs_of.test_scan, name, index))
        for way in ways:
            row = runs.once(
                key(way) | {"hospital": name, "scan": index},
                lambda w=way, s=scan: marks.to_dict(runs_of.marked(detector(w), s())),
            )
            marked[way].append(marks.from_dict(row))
    return marked


def detector_rows(ways: dict[str, dict]) -> Iterator[Row]:
    judged = {
        way: {name: evaluate.judged(rows) for name, rows in each["marked"].items()}
        for way, each in ways.items()
    }
    for way, per_hospital in judged.items():
        for name, each in per_hospital.items():
            yield of_scans(f"CPM in {name}, {way}", [each], lambda j: measure.cpm(j[0]))
    everywhere = {
        way: evaluate.judged(chain.from_iterable(each["marked"].values()))
        for way, each in ways.items()
        if way not in ALONE
    }
    for way, each in everywhere.items():
        what = f"CPM in all four hospitals, {way}"
        yield of_scans(what, [each], lambda j: measure.cpm(j[0]))
    what = "CPM in all four hospitals, FedAvg over all data in one place"
    both = [everywhere[FEDAVG], everywhere[POOLED]]
    yield of_scans(what, both, ratio, target=OF_POOLED)
    for way, name in OWN.items():
        both = [judged[FEDAVG][name], judged[way][name]]
        what = f"CPM in {name}, FedAvg minus alone"
        yield of_scans(what, both, difference, target=0.0)
    what = "CPM in all four hospitals, int8 updates minus float32 ones"
    both = [everywhere[INT8], everywhere[FEDAVG]]
    yield of_scans(what, both, difference, target=LOST)
    facts = {way: [each["facts"]] for way, each in ways.items()}
    yield from byte_rows(facts, "detector")


def ratio(both: Sequence[Judged]) -> float:
    first, second = map(measure.cpm, both)
    return first / second if second else float("nan")


def difference(both: Sequence[Judged]) -> float:
    first, second = map(measure.cpm, both)
    return first - second


def over_seeds(what: str, estimate, **more) -> Row:
    return Row(**COMMON | {"what": what} | vars(estimate) | more)


def of_scans(
    what: str,
    judged: list[Judged],
    statistic: Callable[[Sequence[Judged]], float],
    **more,
) -> Row:
    low, high = measure.bootstrap(judged, statistic)
    interval = {"low": low, "high": high, "interval": "95 % bootstrap of scans"}
    n = int(judged[0].nodules.sum())
    value = statistic(judged)
    return Row(**COMMON | {"what": what, "measured": value, "n": n} | interval | more)


if __name__ == "__main__":
    SCRIPT.main(measure_all)
