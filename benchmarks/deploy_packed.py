"""A compressed model, deployed: how small, how exact, how fast is the one file?

    python benchmarks/deploy_packed.py [--quick] [--anew]

Protocol. The zoo's classifiers and its U-Net with their compressed siblings, and a
ResNet-18 with random weights, compressed to 4.5 bits here with `levels=(2, 4, 6, 8)`,
for its bytes, memory and time only. The wizard deploys each to `cpp-cpu` in four ways: the
original in float32 and in INT8, the compressed model as "packed" and as "packed_int8"
(one thread, one sample). INT8 is guarded on the validation part with the wizard's aim of
0.1 points. The deployed engines run in turn, 9 rounds; a ratio is the quotient of two
medians within a round, and the row gives the median and quartiles of the rounds. Peak
resident memory is that of the engine's process, which loads the file, unpacks what it has
to and answers twice (median of 5 processes). Answers on the test part, at which nothing was
chosen, are those of the deployed `model.onnx` in ONNX Runtime.

Targets, stated before the run. The guide, C2: 98 % of the accuracy at 35 % of the memory,
on one deployed file: accuracy kept on the test part, the file's bytes and the process's
peak memory over those of the float32 deployment. Ours: the file at most 1.15 times the
packed model, outputs within 1e-4 of the packed model's (relative), and "packed_int8" no
slower than INT8 deployed without compression.

Seen before: bytes and times of the U-Net in the lesson on deployment, bytes of the
ResNet-18, and all rows of the Fashion-MNIST net in a quick run, its test part among them.
Its file was then 1.23 times the packed model; after that, scales stayed in bfloat16 and
nodes lost their names. `--quick` takes the Fashion-MNIST net alone and 3 rounds.

Added later: the U-Net and the ResNet-18 were measured twice, since another program had run
beside the first measurement, so the U-Net's test part was looked at twice. Nothing was
changed in between.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from deploying.losses import scores
from harness.interval import Estimate, quartiles, resampled
from harness.outcomes import columns, in_words, tally
from harness.script import Run, Script, Skip
from torch import nn

from deepseek_learn import DeploymentWizard, dpg, zoo
from deepseek_learn.deploy import BuildError, native, runtimes
from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="the Fashion-MNIST net only", anew=True)
WAYS = {  # how it is deployed → whether the compressed model is
    "fp32": False,
    "int8": False,
    "packed": True,
    "packed_int8": True,
}
NETS = ("fashion_net", "solar_defects", "bacteria_unet", "ResNet-18, random weights")
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
ROUNDS, PROCESSES, SECONDS = 9, 5, 0.4


def models(name: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """The original, the compressed model and one sample."""
    if name in zoo.list():
        x = zoo.example(name)
        return zoo.load(name), zoo.load(f"{name}_dpg"), x
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model, x = resnet18(num_classes=10).eval(), torch.rand(4, 3, 128, 128)
    small = dpg.compress(model, [x], bits=4.5, levels=(2, 4, 6, 8)).model
    return model, small, x[:1]


def deployments(name: str, folder: Path) -> tuple[dict[str, Path], float]:
    """Way → its deployed folder, and how far "packed" is from the packed model."""
    original, small, x = models(name)
    folders, difference = {}, 0.0
    if name in zoo.list():
        evaluation = zoo.evaluation(name)
        options = {"calibration": [evaluation.calibration], "metric": evaluation.metric}
    else:
        options = {
            "calibration": [torch.rand(8, *x.shape[1:])],
            "metric": lambda _: 50.0,
        }
    for way, packed in WAYS.items():
        wizard = DeploymentWizard(small if packed else original, x, **options)
        deployment = wizard.to("cpp-cpu", folder / way, precision=way, progress=False)
        folders[way] = deployment.folder
        if way == "packed":
            difference = deployment["same"]
    return folders, difference


class Engine:
    """The engine of a deployed folder, one process per call."""

    def __init__(self, folder: Path, x: torch.Tensor):
        self.folder = folder
        np.save(folder / "x.npy", x.numpy())
        self.words = ["--library", native.library(), "--input", folder / "x.npy"]

    def milliseconds(self, repeats: int) -> float:
        words = [*self.words, "--repeat", repeats]
        report = native.run(self.folder / "engine", self.folder / "model.onnx", *words)
        return report["latency_ms"]["median"]

    def peak(self) -> int:
        """Peak resident bytes of a process that answers twice."""
        program, model = self.folder / "engine", self.folder / "model.onnx"
        command = [program, model, *self.words, "--repeat", 1]
        # started by a small process: until it begins, the engine counts its parent's memory
        small = [sys.executable, "-S", "-c", PEAK, *map(str, command)]
        done = subprocess.run(small, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1]) * 1024


def measure_net(name: str, rounds: int) -> dict:
    """Bytes, peak memory, latencies and test images of one network's deployments."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        try:
            folders, difference = deployments(name, Path(place))
        except BuildError as error:
            raise Skip(str(error)) from error
        original, small, x = models(name)
        engines = {way: Engine(folder, x) for way, folder in folders.items()}
        repeats = {
            way: max(3, int(1e3 * SECONDS / engine.milliseconds(3)))
            for way, engine in engines.items()
        }
        turns = [
            {way: engine.milliseconds(repeats[way]) for way, engine in engines.items()}
            for _ in range(rounds)
        ]
        peaks = [
            {way: engine.peak() for way, engine in engines.items()}
            for _ in range(PROCESSES)
        ]
        files = {way: folder / "model.onnx" for way, folder in folders.items()}
        facts = {
            "file": {way: file.stat().st_size for way, file in files.items()},
            "packed_bytes": dpg.bytes_of(small),
            "float_bytes": dpg.bytes_of(original),
            "difference": difference,
            "ms": {way: [turn[way] for turn in turns] for way in WAYS},
            "peak": {way: [turn[way] for turn in peaks] for way in WAYS},
        }
        if name in zoo.list():
            evaluation = zoo.evaluation(name)
            before = scores(evaluation, _predict(files["fp32"]))
            facts["images"] = {
                way: tally(*before, *scores(evaluation, _predict(files[way])))
                for way in ("packed", "packed_int8")
            }
        return facts


def _predict(file: Path):
    answer = runtimes.runner(file)
    return lambda x: torch.from_numpy(answer(x)[0])


def kept(table: list[list[int]]) -> Estimate:
    """Percent of the score that the second model keeps, with its interval."""
    items = columns(table)  # [4, images]
    count = items.shape[1]
    picks = np.random.default_rng(0).integers(0, count, (2000, count))

    def share(sums: np.ndarray) -> np.ndarray:
        return 100 * (sums[2] / sums[3]) / (sums[0] / sums[1])

    draws = share(np.stack([each[picks].sum(1) for each in items]))
    return resampled(float(share(items.sum(1))), [*draws], count)


def rows_of(name: str, facts: dict) -> Iterator[Row]:
    for way in ("packed", "packed_int8"):
        what = f"{name}, deployed as {way}"
        file, whole = facts["file"][way], facts["file"]["fp32"]
        ours = {"claim": "C12", "source": "ours"}
        guide = {"claim": "C2", "source": "guide"}
        if "images" in facts:
            table = facts["images"][way]
            yield Row(
                **guide,
                what=f"{what}: accuracy kept on the test part",
                unit="%",
                better="higher",
                target=98,
                **vars(kept(table)),
                note=in_words(table),
            )
        yield Row(
            **guide,
            what=f"{what}: bytes of the file, of float32's",
            unit="%",
            better="lower",
            target=35,
            measured=100 * file / whole,
            note=f"{file:,} of {whole:,} bytes",
        )
        shares = [
            100 * a / b
            for a, b in zip(facts["peak"][way], facts["peak"]["fp32"], strict=True)
        ]
        peak, full = (median(facts["peak"][each]) / 1e6 for each in (way, "fp32"))
        yield Row(
            **guide,
            what=f"{what}: peak memory of the process, of float32's",
            unit="%",
            better="lower",
            target=35,
            **vars(quartiles(shares)),
            note=f"{peak:.0f} of {full:.0f} MB",
        )
        if way == "packed":
            yield Row(
                **ours,
                what=f"{what}: bytes of the file over the packed model's",
                unit="×",
                better="lower",
                target=1.15,
                measured=file / facts["packed_bytes"],
                note=f"{file:,} over {facts['packed_bytes']:,} bytes",
            )
            yield Row(
                **ours,
                what=f"{what}: largest difference from the packed model",
                unit="of the largest output",
                better="lower",
                target=1e-4,
                measured=facts["difference"],
            )
        else:
            ms = facts["ms"]
            pairs = zip(ms[way], ms["int8"], strict=True)
            yield Row(
                **ours,
                what=f"{what}: time over that of INT8 without compression",
                unit="×",
                better="lower",
                target=1.0,
                **vars(quartiles([a / b for a, b in pairs])),
                note=", ".join(f"{w} {median(ms[w]):.3g} ms" for w in WAYS),
            )


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs()
    for name in NETS[:1] if run.quick else NETS:
        work = partial(measure_net, name, 3 if run.quick else ROUNDS)
        yield from rows_of(name, runs.once({"net": name}, work))


if __name__ == "__main__":
    SCRIPT.main(measure)
