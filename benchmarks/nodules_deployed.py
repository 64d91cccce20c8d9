"""The nodule detector on a processor: how fast, how small, and the same answers?

    python benchmarks/nodules_deployed.py [--quick] [--anew] [--speed]

Protocol. One thread. The wizard deploys the zoo's `nodule_detector_dpg` for tiles of
96 x 96 x 96 mm: for `cpp-cpu` (ONNX Runtime) in float32 and INT8, for `openvino` in
bfloat16, too. INT8 is calibrated on 16 crops of training scans; the guard's metric is the
average precision of the marks in 24 others.

`exact`: the outputs of the C++ engine on crops of the 50 validation scans, one around each
nodule and one elsewhere in each scan, against PyTorch's: the largest difference, and the
average precision of the marks of all. Intervals resample the crops 1,000 times. `memory`:
the peak memory of a fresh process above what the imports take, while PyTorch runs a tile
through the original and through the model with DPG; median of 3. `speed`: in each of 7
rounds, in turn, PyTorch eager in float32 and in bfloat16 (channels last) with the original,
and each of the C++ engines, one tile; the ratio within a round, median and
quartiles. `scan`: the zoo's detector on whole validation scans (resampling, lungs, tiles,
marks; not reading the files) with two threads, median and quartiles of 7 scans.

Targets, stated before the run. The guide (C2, C12): 98 % of the accuracy at 35 % of the
memory; 3 times as fast with INT8, less than 1 % lost. Ours: float32 within 1e-3 of PyTorch
in every output; INT8 at least 3 times as fast as eager float32; at most 15 s per scan on
two cores. If the guard refuses INT8, its loss on the 24 crops is the row. Every figure is
one of phantoms.
`--quick` takes the crops of one scan, 2 rounds and 2 scans.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from deploying.backends import Engine, timed
from harness import peak
from harness.interval import quartiles
from harness.runs import end_time
from harness.script import BENCHMARKS, Run, Script, Skip
from sklearn.metrics import average_precision_score

from deepseek_learn import zoo
from deepseek_learn.deploy import AccuracyError, BuildError, DeploymentWizard, native
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory
from deepseek_learn.measure.clock import in_turn
from deepseek_learn.solutions.nodules.crops import Crops
from deepseek_learn.solutions.nodules.detector import mark, peaks
from deepseek_learn.solutions.nodules.measure import Judged, bootstrap, judge
from deepseek_learn.solutions.phantoms import scans

SIDE, CALIBRATION, GUARDED, ROUNDS, SCANS, PROCESSES = 96, 16, 24, 7, 7, 3
EAGER, BF16 = "PyTorch eager, float32", "PyTorch eager, bfloat16"
CHESTS = BENCHMARKS / ".venv" / "chests"
MODELS = ("nodule_detector", "nodule_detector_dpg")
ENGINES = {  # target and precision
    "ONNX Runtime, float32": ("cpp-cpu", "fp32"),
    "ONNX Runtime, INT8": ("cpp-cpu", "int8"),
    "OpenVINO, float32": ("openvino", "fp32"),
    "OpenVINO, bfloat16": ("openvino", "bf16"),
    "OpenVINO, INT8": ("openvino", "int8"),
}
Cut = tuple[
    torch.Tensor, list[np.ndarray]
]  # crops [N, 1, 96, 96, 96] and their nodules


def print_peak(name: str) -> None:
    """Print the peak memory of one tile in this process: weights and activations."""
    torch.set_num_threads(1)
    x = torch.zeros(1, 1, SIDE, SIDE, SIDE)
    before = memory.resident_bytes()
    model = zoo.load(name).eval()
    with torch.inference_mode():
        peak.print_peak(lambda: model(x), above=before)


SCRIPT = Script(
    __file__,
    __doc__,
    quick="one scan's crops, 2 rounds",
    anew=True,
    speed=True,
    children={"peak": print_peak},
)


def training_crops(count: int, seed: int) -> Cut:
    source = scans.training_scans(CHESTS, 1 if count < 8 else 4)
    dataset = Crops(source, count, seed, augment=False, size=SIDE)
    return _stacked([dataset.crop(index) for index in range(count)])


def validation_crops(count: int) -> Cut:
    """A crop around each nodule of the first scans, and one elsewhere in each."""
    pairs = []
    for index in range(count):
        scan = scans.generate("validation", index)
        gray, boxes = scans.gray(scan.hu), scans.boxes(scan)
        room = np.array(gray.shape) - SIDE
        elsewhere = np.random.default_rng(index).integers(room + 1)
        around = np.clip(boxes[:, :3] - SIDE / 2, 0, room).astype(int)
        for corner in (elsewhere, *around):
            window = tuple(slice(n, n + SIDE) for n in corner)
            crop = gray[window].astype(np.float32) / 255
            pairs.append((crop, boxes - np.array([*corner, 0])))
    return _stacked(pairs)


def _stacked(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Cut:
    """Crops with the nodules whose centers are inside."""
    volumes = torch.from_numpy(np.stack([crop for crop, _ in pairs]))[:, None]
    inside = [own[((own[:, :3] >= 0) & (own[:, :3] < SIDE)).all(1)] for _, own in pairs]
    return volumes, inside


def judged(answers: torch.Tensor, nodules: list[np.ndarray]) -> Judged:
    everywhere = torch.ones(answers.shape[2:], dtype=torch.bool)
    return judge([peaks(each, everywhere).table() for each in answers], nodules)


def points(marks: Judged) -> float:
    """The average precision of the marks, in points; a missed nodule has the score 0."""
    missed = int(np.isnan(marks.best).sum())
    hits = np.append(marks.hits, np.ones(missed, bool))
    scores = np.append(marks.scores, np.zeros(missed))
    return 100 * float(average_precision_score(hits, scores))


class Deployed:
    """The deployed model, in both precisions, and its test crops."""

    def __init__(self, quick: bool):
        for name in MODELS:
            if name not in zoo.zoo:
                raise Skip(f"the zoo has no {name} yet.")
        self.quick = quick
        self.original, self.compressed = (zoo.load(name).eval() for name in MODELS)
        self.place = TemporaryDirectory()
        self.work = Path(self.place.name)

    @cache  # noqa: B019 - one object lives as long as the script
    def tested(self) -> Cut:
        return validation_crops(1 if self.quick else len(scans.deal("validation")))

    @cache  # noqa: B019
    def guard(self) -> tuple[torch.Tensor, Callable]:
        """The crops to calibrate on, and the metric of the wizard's guard."""
        calibration, _ = training_crops(4 if self.quick else CALIBRATION, seed=0)
        held_out, nodules = training_crops(4 if self.quick else GUARDED, seed=1)

        def metric(predict) -> float:
            with torch.inference_mode():
                rows = [torch.as_tensor(predict(x)) for x in held_out.split(1)]
            return points(judged(torch.cat(rows), nodules))

        return calibration, metric

    @cache  # noqa: B019
    def folder(self, engine: str) -> Path:
        """The folder of the deployed model for one of `ENGINES`.

        Raises:
            AccuracyError: if the wizard's guard refuses it.
        """
        calibration, metric = self.guard()
        target, precision = ENGINES[engine]
        wizard = DeploymentWizard(
            self.compressed, calibration[:1], [*calibration.split(1)], metric
        )
        out = self.work / target / precision
        try:
            wizard.to(target, out, precision=precision, progress=False)
        except BuildError as error:
            raise Skip(str(error)) from error
        return out

    def answers(self, engine: str, volumes: torch.Tensor) -> torch.Tensor:
        """What a C++ engine answers, one process per crop."""
        folder, place = self.folder(engine), self.work / "crop"
        place.mkdir(exist_ok=True)
        words = [*options(engine), "--warmup", 0, "--repeat", 1]
        words += ["--input", place / "x.npy", "--output", place]
        rows = []
        for x in volumes.split(1):
            np.save(place / "x.npy", x.numpy())
            native.run(folder / "engine", folder / "model.onnx", *words)
            rows.append(torch.from_numpy(np.load(place / "output_0.npy")))
        return torch.cat(rows)


def options(engine: str) -> list:
    """What the program needs to know apart from model and input."""
    target, precision = ENGINES[engine]
    if target == "cpp-cpu":
        return ["--library", native.library()]
    return ["--precision", "bf16" if precision == "bf16" else "fp32"]


def exact(deployed: Deployed) -> dict:
    volumes, nodules = deployed.tested()
    with torch.inference_mode():
        truth = torch.cat([deployed.compressed(x) for x in volumes.split(1)])
        original = torch.cat([deployed.original(x) for x in volumes.split(1)])
    base = judged(truth, nodules)
    facts = {"crops": len(volumes), "nodules": int(base.nodules.sum())}
    facts["points"] = points(base)
    facts["kept"] = compared(judged(original, nodules), base, lambda a, b: b / a)
    for engine in ENGINES:
        try:
            model = deployed.folder(engine) / "model.onnx"
        except AccuracyError as error:
            facts[engine] = {"refused": error.guard.loss}
            continue
        answers = deployed.answers(engine, volumes)
        lost = compared(base, judged(answers, nodules), lambda a, b: a - b)
        apart = float((answers - truth).abs().max())
        facts[engine] = {"apart": apart, "lost": lost, "bytes": model.stat().st_size}
    return facts


def compared(one: Judged, other: Judged, difference) -> list[float]:
    """What `difference` says of the points of both, with the bounds of its interval."""
    pairs = [one, other]

    def statistic(both) -> float:
        return difference(*map(points, both))

    return [statistic(pairs), *bootstrap(pairs, statistic)]


def peak_bytes(quick: bool) -> dict:
    return {
        name: [
            peak.in_fresh_process(__file__, "--peak", name)
            for _ in range(1 if quick else PROCESSES)
        ]
        for name in MODELS
    }


def speed(deployed: Deployed) -> dict:
    torch.set_num_threads(1)
    x = deployed.tested()[0][:1].contiguous(memory_format=torch.channels_last_3d)
    model = deployed.original.to(memory_format=torch.channels_last_3d)

    def bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            model(x)

    sides = {
        EAGER: partial(timed(lambda: model(x)), 1),
        BF16: partial(timed(bf16), 1),
    }
    for name in ENGINES:
        try:
            folder = deployed.folder(name)
        except AccuracyError:
            continue
        proto = _proto(folder / "model.onnx")
        engine = Engine(folder / "engine", proto, x, deployed.work, *options(name))
        sides[name] = partial(engine, 1)
    with torch.inference_mode():
        for side in sides.values():
            side()  # warm up
        return in_turn(sides, 2 if deployed.quick else ROUNDS)


def whole_scans(quick: bool) -> dict:
    torch.set_num_threads(2)
    model = zoo.load(MODELS[0]).eval()
    seconds = []
    for index in range(2 if quick else SCANS):
        scan = scans.generate("validation", index)
        start = time.perf_counter()
        mark(model, scan.hu, scan.spacing_mm)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def _proto(path: Path):
    import onnx

    return onnx.load(path)


def measure(run: Run) -> Iterator[Row]:
    runs, deployed = run.finished_runs(), cache(partial(Deployed, run.quick))
    if run.speed:
        yield from speed_rows(
            runs.again({"part": "speed"}, lambda: speed(deployed())),
            runs.again({"part": "scan"}, lambda: whole_scans(run.quick)),
        )
        return
    facts = runs.once({"part": "exact"}, lambda: exact(deployed()))
    yield from exact_rows(facts)
    used = runs.once({"part": "memory"}, lambda: peak_bytes(run.quick))
    original, compressed = (median(used[name]) for name in MODELS)
    what = "peak memory of a tile with DPG, of the original's"
    yield row(what, compressed / original, better="lower", target=0.35, **GUIDE)
    yield from speed_rows(
        runs.once({"part": "speed"}, lambda: speed(deployed())),
        runs.once({"part": "scan"}, lambda: whole_scans(run.quick)),
    )


def exact_rows(facts: dict) -> Iterator[Row]:
    note = f"{facts['crops']} crops"
    yield row("average precision with DPG, of the original's", *facts["kept"],
              n=facts["nodules"], target=0.98, note=note, **GUIDE)  # fmt: skip
    for engine in ENGINES:
        part, in_points = facts[engine], {"unit": "points", "better": "lower"}
        in_points |= {"target": 1.0, "claim": "C12", "source": "guide"}
        if "refused" in part:
            refused = f"refused by the wizard's guard, on {GUARDED} training crops"
            what = f"average precision lost by {engine}"
            yield row(what, part["refused"], note=refused, **in_points)
            continue
        what = f"average precision that the C++ engine loses, {engine}"
        yield row(what, *part["lost"], n=facts["nodules"], note=note, **in_points)
        what = f"largest difference of an output of the C++ engine, {engine}"
        target = 1e-3 if engine.endswith("float32") else None
        yield row(
            what, part["apart"], target=target, unit="", better="lower", note=note
        )
        what, megabytes = f"size of the model, {engine}", part["bytes"] / 1e6
        yield row(what, megabytes, unit="MB", better="lower")


def speed_rows(times: dict, scan: dict) -> Iterator[Row]:
    for engine in ENGINES:
        for base in (EAGER, BF16):
            if engine not in times:  # refused
                continue
            ratios = [a / b for a, b in zip(times[base], times[engine], strict=True)]
            of_guide = engine.endswith("INT8") and base == EAGER
            yield Row(
                claim="C12", source="guide" if of_guide else "ours",
                unit="times", better="higher", target=3.0 if of_guide else None,
                what=f"nodule detector: the C++ engine ({engine}) is faster than {base}",
                **vars(quartiles(ratios)),
            ).at(end_time(times))  # fmt: skip
    yield Row(
        claim="C14", source="ours", unit="s", better="lower", target=15.0,
        what="nodule detector: seconds per scan, two threads",
        **vars(quartiles(scan["seconds"])),
    ).at(end_time(scan))  # fmt: skip


GUIDE = {"claim": "C2", "source": "guide"}


def row(what: str, value: float, low=None, high=None, **more) -> Row:
    fields = {"claim": "C14", "source": "ours", "unit": "of 1", "better": "higher"}
    if low is not None:
        fields |= {"low": low, "high": high, "interval": "95 % bootstrap of crops"}
    return Row(
        **fields | {"what": f"nodule detector: {what}", "measured": value} | more
    )


if __name__ == "__main__":
    SCRIPT.main(measure)
