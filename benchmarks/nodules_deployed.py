"""The nodule detector on a processor: how fast, how small, and the same answers?

    python benchmarks/nodules_deployed.py [--quick] [--anew] [--speed]

Protocol. One thread. The wizard deploys the zoo's `nodule_detector_dpg` for `cpp-cpu` in
float32 and in INT8, for tiles of 96 x 96 x 96 mm. INT8 is calibrated on 16 crops of
training scans; the guard's metric is the average precision of the marks in 24 others.

`exact`: the outputs of the deployed files in ONNX Runtime on 48 crops around nodules and
elsewhere of validation scans, against PyTorch's: the largest difference, and the average
precision of the marks of both. `speed`: in each of 7 rounds, in turn, PyTorch eager in
float32 and in bfloat16 (channels last) with the original, and the C++ engine in both
precisions, one tile; the ratio within a round, median and quartiles. `size`: bytes of the
model. `scan`: the zoo's detector on whole validation scans (resampling, lungs, tiles,
marks; not reading the files) with two threads, median and quartiles of 7 scans.

Targets, stated before the run. The guide (C2, C12): 98 % of the accuracy at 35 % of the
memory; 3 times as fast with INT8, less than 1 % lost. Ours: float32 within 1e-3 of PyTorch
in every output; the average precision with INT8 at most one point lower; INT8 at least 3
times as fast as eager float32; at most 15 s per scan on two cores. Every figure is one of
phantoms.
`--quick` takes 4 crops, 2 rounds and 2 scans.
"""

import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from deploying.backends import Engine, timed
from harness.interval import quartiles
from harness.runs import end_time
from harness.script import BENCHMARKS, Run, Script, Skip
from sklearn.metrics import average_precision_score

from deepseek_learn import zoo
from deepseek_learn.deploy import BuildError, DeploymentWizard
from deepseek_learn.deploy.runtimes import runner
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.clock import in_turn
from deepseek_learn.solutions.nodules import scans
from deepseek_learn.solutions.nodules.detector import mark, peaks
from deepseek_learn.solutions.nodules.measure import judge
from deepseek_learn.solutions.nodules.train import Crops

SCRIPT = Script(__file__, __doc__, quick="4 crops, 2 rounds", anew=True, speed=True)
SIDE, CALIBRATION, GUARDED, TESTED, ROUNDS, SCANS = 96, 16, 24, 48, 7, 7
CHESTS = BENCHMARKS / ".venv" / "chests"


def crops(part: str, count: int, seed: int) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Crops `[N, 1, 96, 96, 96]` with their nodules, from training or validation scans."""
    if part == "training":
        source = scans.training_scans(CHESTS, 1 if count < 8 else 4)
    else:
        made = [scans.generate(part, index) for index in range(1 if count < 8 else 8)]
        source = [(scans.gray(each.hu), scans.boxes(each)) for each in made]
    dataset = Crops(source, count, seed, augment=False, size=SIDE)
    pairs = [dataset.crop(index) for index in range(count)]
    volumes = torch.from_numpy(np.stack([crop for crop, _ in pairs]))[:, None]
    inside = [own[((own[:, :3] >= 0) & (own[:, :3] < SIDE)).all(1)] for _, own in pairs]
    return volumes, inside


def precision(answers: torch.Tensor, nodules: list[np.ndarray]) -> float:
    """The average precision of the marks, in points; a missed nodule has the score 0."""
    everywhere = torch.ones(answers.shape[2:], dtype=torch.bool)
    marks = [peaks(each, everywhere).table() for each in answers]
    judged = judge(marks, nodules)
    missed = int(np.isnan(judged.best).sum())
    hits = np.append(judged.hits, np.ones(missed, bool))
    return 100 * float(
        average_precision_score(hits, np.append(judged.scores, [0.0] * missed))
    )


class Deployed:
    """The deployed model, in both precisions, and its test crops."""

    def __init__(self, quick: bool):
        if "nodule_detector_dpg" not in zoo.zoo:
            raise Skip("the zoo has no nodule_detector_dpg yet.")
        self.quick = quick
        self.original = zoo.load("nodule_detector")
        self.compressed = zoo.load("nodule_detector_dpg").eval()
        self.tested = crops("validation", 4 if quick else TESTED, seed=2)
        self.place = TemporaryDirectory()
        self.folder = Path(self.place.name)

    @cache  # noqa: B019 - one object lives as long as the script
    def model(self, precision_name: str) -> Path:
        """The exported model in one precision."""
        calibration, _ = crops("training", 4 if self.quick else CALIBRATION, seed=0)
        held_out, nodules = crops("training", 4 if self.quick else GUARDED, seed=1)

        def metric(predict) -> float:
            with torch.inference_mode():
                rows = [torch.as_tensor(predict(x)) for x in held_out.split(1)]
            return precision(torch.cat(rows), nodules)

        wizard = DeploymentWizard(
            self.compressed, calibration[:1], [*calibration.split(1)], metric
        )
        out = self.folder / precision_name
        options = {"precision": precision_name, "progress": False}
        try:
            wizard.to("cpp-cpu", out, **options)
        except BuildError as error:
            raise Skip(str(error)) from error
        return out / "model.onnx"


def exact(deployed: Deployed) -> dict:
    volumes, nodules = deployed.tested
    with torch.inference_mode():
        truth = torch.cat([deployed.compressed(x) for x in volumes.split(1)])
        float32 = torch.cat([deployed.original(x) for x in volumes.split(1)])
    facts = {
        "original_points": precision(float32, nodules),
        "points": precision(truth, nodules),
        "crops": len(volumes),
        "nodules": sum(map(len, nodules)),
    }
    for name in ("fp32", "int8"):
        answer = runner(deployed.model(name))
        answers = torch.cat([torch.from_numpy(answer(x)[0]) for x in volumes.split(1)])
        facts[f"{name}_apart"] = float((answers - truth).abs().max())
        facts[f"{name}_points"] = precision(answers, nodules)
        facts[f"{name}_bytes"] = deployed.model(name).stat().st_size
    return facts


def speed(deployed: Deployed) -> dict:
    torch.set_num_threads(1)
    x = deployed.tested[0][:1].contiguous(memory_format=torch.channels_last_3d)
    model = deployed.original.to(memory_format=torch.channels_last_3d)

    def bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            model(x)

    sides = {
        "eager": partial(timed(lambda: model(x)), 1),
        "bf16": partial(timed(bf16), 1),
    }
    program = deployed.folder / "fp32" / "engine"
    for name in ("fp32", "int8"):
        engine = Engine(program, _proto(deployed.model(name)), x, deployed.folder)
        sides[name] = partial(engine, 1)
    with torch.inference_mode():
        for side in sides.values():
            side()  # warm up
        return in_turn(sides, 2 if deployed.quick else ROUNDS)


def whole_scans(quick: bool) -> dict:
    torch.set_num_threads(2)
    model = zoo.load("nodule_detector").eval()
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
    yield row("fp32: largest difference of an output", facts["fp32_apart"], target=1e-3,
              unit="", better="lower", n=facts["crops"])  # fmt: skip
    for name, words in (("fp32", "in float32"), ("int8", "in INT8")):
        lost = facts["points"] - facts[f"{name}_points"]
        what = f"average precision lost as deployed {words}"
        yield row(what, lost, unit="points", better="lower", n=facts["nodules"],
                  target=1.0, claim="C12" if name == "int8" else "C14")  # fmt: skip
        megabytes = facts[f"{name}_bytes"] / 1e6
        yield row(f"size of the model {words}", megabytes, unit="MB", better="lower")
    kept = facts["points"] / facts["original_points"]
    yield row("average precision with DPG, of the original's", kept, target=0.98,
              better="higher", n=facts["nodules"], claim="C2")  # fmt: skip
    yield from speed_rows(
        runs.once({"part": "speed"}, lambda: speed(deployed())),
        runs.once({"part": "scan"}, lambda: whole_scans(run.quick)),
    )


def speed_rows(times: dict, scan: dict) -> Iterator[Row]:
    for name, words in (("fp32", "float32"), ("int8", "INT8")):
        for base, base_words in (("eager", "float32"), ("bf16", "bfloat16")):
            ratios = [a / b for a, b in zip(times[base], times[name], strict=True)]
            target = 3.0 if (name, base) == ("int8", "eager") else None
            yield Row(
                claim="C12", source="ours", unit="times", better="higher",
                what=f"nodule detector: C++ with {words} is faster than PyTorch eager in "
                f"{base_words}",
                target=target, **vars(quartiles(ratios)),
            ).at(end_time(times))  # fmt: skip
    yield Row(
        claim="C14", source="ours", unit="s", better="lower", target=15.0,
        what="nodule detector: seconds per scan, two threads",
        **vars(quartiles(scan["seconds"])),
    ).at(end_time(scan))  # fmt: skip


def row(what: str, value: float, **more) -> Row:
    fields = {"claim": "C14", "source": "ours", "unit": "of 1", "better": "higher"}
    return Row(
        **fields | {"what": f"nodule detector: {what}", "measured": value} | more
    )


if __name__ == "__main__":
    SCRIPT.main(measure)
