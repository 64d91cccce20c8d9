"""Defects found after seeing good parts only: our detectors and anomalib's, side by side.

    python benchmarks/factory_surfaces.py [--quick] [--anew]

Protocol. Six surfaces of `solutions.factory.surfaces`: brushed metal, cast metal and
woven fabric are generated; brick, grass and gravel are photographs, of which the left
half is for training and the right half for testing. Grass and gravel are chaotic: their
own texture has the sizes and the contrasts of the defects. For each surface and each seed
s of 0, 1, 2: 60 good parts of 256 x 256 pixels (data seed 100 + s) to learn from, and 50
good and 96 defective parts (data seed 200 + s; eight kinds of defect, 12 of each) to test
on. No detector sees a defect of the test: the segmenter is trained on the generic shapes
of `synthetic.py`, with 1,200 batches of eight.

Detectors: our segmenter with SC-attention, and for seed 0 without it; our patch memory;
anomalib 2.7's PatchCore and PaDiM, and for seed 0 its STFPM, in an environment of their
own (`benchmarks/.venv/anomaly_peers`, not in git), set up as anomalib does, with the same
EfficientNet-Lite0. Its other models fetch their backbones from a hub, which is not
reachable here, or train for hours. The score of a part is the maximum of its map, or
anomalib's own score. Metrics: image AUROC, pixel AP, AUPRO up to 5 % false positives.

Targets, stated before the run: mean image AUROC of the segmenter on the four surfaces
that are not chaotic at least 0.99; pixel AP and AUPRO above PatchCore's on every surface.
Intervals are Student's over the three seeds, of paired differences where two detectors
are compared. Gravel and grass are shown without a target for the image AUROC.

What had been seen before: single runs with other seeds of the data (1 and 2) while the
detectors were built. There the segmenter's image AUROC was 1.00 on woven fabric after 500
batches, 0.975 on cast metal and 0.936 on brick after 500, and 0.998 and 0.992 after
1,200; the memory's was 0.994 on brushed metal, 0.948 on woven fabric, 0.92 on cast metal and 0.73 on
brick. The masks of the synthetic defects were changed once after such a run: they had
left out faint changes, and the segmenter had overlooked faint defects on cast metal.
`--quick` takes the woven fabric, one seed, 20 batches, and no peers.

Added later, after the first four runs (brick, seed 0) and unchanged by them: anomalib's
DFM on seed 0. SuperSimpleNet was tried and left out: a batch of 32 takes 26 seconds here,
so its 300 epochs take four hours on one surface. DRAEM and GLASS were not tried. The other
models need a backbone of another architecture, which is not available offline.

Added later, after all runs of the segmenter's first version (mean image AUROC 0.982, the
target missed): its second version. The maps of the first showed why: the two halves of the
photograph of bricks are seen from different angles, and the slanted joints of the test
half were taken for defects; on gravel, every score of one run had rounded to 1. Now three
in four training parts are turned by up to 8 degrees, scaled by 0.85 to 1.4 and given a
gamma of 0.8 to 1.25, and the score is the sigmoid of a quarter of the logit. Tried on other seeds of the data (brick, image AUROC
0.842 before, 0.977 after), then run once: the test parts were looked at twice. The first
version's runs stay in the file and have rows of their own.

Added later: since the second version was made after the test parts had shown the faults of
the first, what it reaches on them is information, and what it misses stays missed. No
surface is held out from both.
"""  # noqa: E501 - a changed line would invalidate finished runs

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from deploying.backends import peer_python
from harness.interval import student
from harness.script import BENCHMARKS, Run, Script

from deepseek_learn.files import REPOSITORY
from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.factory import measure as metrics
from deepseek_learn.solutions.factory.memory import PatchMemory
from deepseek_learn.solutions.factory.segmenter import DefectSegmenter, train
from deepseek_learn.solutions.factory.surfaces import Parts, parts
from deepseek_learn.zoo.nets.efficientnet_lite import (
    EfficientNetLite,
    load_reference_weights,
)
from deepseek_learn.zoo.nets.imagenet import reference_weights

SCRIPT = Script(__file__, __doc__, quick="one surface, 20 batches", anew=True)
ORDERLY, CHAOTIC = ("brick", "brushed", "cast", "woven"), ("grass", "gravel")
SEEDS, GOOD, TESTED, DEFECTIVE, STEPS = (0, 1, 2), 60, 50, 96, 1200
PEERS = BENCHMARKS / ".venv" / "anomaly_peers"
PACKAGES = ("anomalib==2.7.*", "torch==2.13.*")
CHOICES = "the segmenter was changed after its first version's maps of the test parts"
SEGMENTER, PLAIN, MEMORY = "segmenter", "segmenter without attention", "patch memory"
EVERY_SEED = (SEGMENTER, MEMORY, "PatchCore", "PaDiM")
FIRST_SEED = (PLAIN, "DFM", "STFPM")
METRICS = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO@0.05"}

Detect = Callable[[np.ndarray, np.ndarray, int], dict]


def ours(build: Callable, good: np.ndarray, test: np.ndarray, seed: int) -> dict:
    """Scores and maps of a detector that `build(good, seed)` makes."""
    start = time.perf_counter()
    model = build(good, seed)
    fit_s, start = time.perf_counter() - start, time.perf_counter()
    with torch.inference_mode():
        maps = [model(torch.from_numpy(x)[None, None])[0].numpy() for x in test]
    ms = 1e3 * (time.perf_counter() - start) / len(test)
    scores = np.array([each.max() for each in maps])
    return {"scores": scores, "maps": maps, "fit_s": fit_s, "ms": ms}


def memory(good: np.ndarray, seed: int) -> PatchMemory:
    return PatchMemory().remember(torch.from_numpy(good)[:, None], seed=seed)


def segmenter(
    attention: str | None, steps: int, good: np.ndarray, seed: int
) -> DefectSegmenter:
    torch.manual_seed(seed)
    model = DefectSegmenter(attention=attention)
    train(model, good, steps, seed, progress=False)
    return model


def anomalib(name: str, good: np.ndarray, test: np.ndarray, seed: int) -> dict:
    """The same of one of anomalib's detectors, in its own environment."""
    python = peer_python(PEERS, *PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        backbone, source, out = (
            Path(folder) / n for n in ("b.pt", "in.npz", "out.npz")
        )
        network = load_reference_weights(EfficientNetLite(), reference_weights())
        torch.save(network.eval(), backbone)
        np.savez(source, train=good, test=test)
        script = BENCHMARKS / "models" / "anomaly_peers.py"
        command = [python, script, name, backbone, source, out]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run(
            [*map(str, command)], check=True, capture_output=True, env=environment
        )
        answer = np.load(out)
        return {key: answer[key] for key in ("scores", "maps", "fit_s", "ms")}


def detectors(steps: int) -> dict[str, Detect]:
    methods = {
        SEGMENTER: partial(ours, partial(segmenter, "sc", steps)),
        PLAIN: partial(ours, partial(segmenter, None, steps)),
        MEMORY: partial(ours, memory),
    }
    peers = ("PatchCore", "PaDiM", "DFM", "STFPM")
    return methods | {name: partial(anomalib, name) for name in peers}


def test_parts(surface: str, seed: int) -> Parts:
    return parts(surface, TESTED, DEFECTIVE, seed=200 + seed, part="test")


def evaluate(surface: str, seed: int, detect: Detect) -> dict:
    good = parts(surface, GOOD, seed=100 + seed).images
    test = test_parts(surface, seed)
    answer = detect(good, test.images, seed)
    result = metrics.detection(answer["scores"], list(answer["maps"]), list(test.masks))
    scores = np.asarray(answer["scores"], float)
    kinds = {}
    for kind in sorted(set(test.kinds) - {"good"}):
        those = scores[[k == kind for k in test.kinds]]
        kinds[kind] = float((those[:, None] > scores[None, :TESTED]).mean())
    return result.to_dict() | {
        "kinds": kinds,
        "fit_s": float(answer["fit_s"]),
        "ms": float(answer["ms"]),
    }


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs(anywhere=True)
    if run.quick:
        surfaces, seeds, names = ("woven",), (0,), (SEGMENTER, MEMORY)
    else:
        surfaces, seeds, names = ORDERLY + CHAOTIC, SEEDS, EVERY_SEED + FIRST_SEED
    methods, table = detectors(20 if run.quick else STEPS), {}
    work = [(n, s) for s in seeds for n in names if n in EVERY_SEED]
    work += [(name, 0) for name in names if name in FIRST_SEED]
    for name, seed in work:
        for surface in surfaces:
            key = {"surface": surface, "seed": seed, "detector": name}
            if name in (SEGMENTER, PLAIN):
                key["version"] = 2
            once = partial(evaluate, surface, seed, methods[name])
            table[surface, seed, name] = runs.once(key, once)
    yield from rows(table, surfaces, seeds)
    if not run.quick:
        yield first_version(runs)


def first_version(runs) -> Row:
    """The mean image AUROC of the segmenter's first version, from its finished runs."""
    old = [each for each in runs.rows if each["detector"] == SEGMENTER]
    old = {(r["surface"], r["seed"]): r for r in old if "version" not in r}
    means = [np.mean([old[s, seed]["image_auroc"] for s in ORDERLY]) for seed in SEEDS]
    what = "image AUROC of the segmenter's first version, mean of the same surfaces"
    return row(what, student(list(map(float, means))), target=0.99)


def rows(table: dict, surfaces, seeds) -> Iterator[Row]:
    def values(surface: str, name: str, metric: str) -> list[float]:
        results = (table.get((surface, seed, name)) for seed in seeds)
        return [each[metric] for each in results if each]

    orderly = [s for s in surfaces if s in ORDERLY]
    means = [
        float(np.mean([table[s, seed, SEGMENTER]["image_auroc"] for s in orderly]))
        for seed in seeds
    ]
    what = "image AUROC of the segmenter, mean of the surfaces that are not chaotic"
    yield row(what, student(means), target=0.99, choices=CHOICES)
    names = {name for _, _, name in table}
    for surface in surfaces:
        for name in sorted(names):
            for metric, words in METRICS.items():
                estimate = student(values(surface, name, metric))
                yield row(f"{surface}: {words} of the {name}", estimate)
        for metric in ("pixel_ap", "aupro") if "PatchCore" in names else ():
            pairs = zip(
                values(surface, SEGMENTER, metric),
                values(surface, "PatchCore", metric),
                strict=True,
            )
            estimate = student([a - b for a, b in pairs])
            what = f"{surface}: {METRICS[metric]} of the segmenter minus PatchCore's"
            facts = {"target": 0.0, "peer": "anomalib 2.7 PatchCore"}
            yield row(what, estimate, choices=CHOICES, **facts)


def row(what: str, estimate, **more) -> Row:
    fields = {"claim": "C13", "source": "ours", "unit": "of 1", "better": "higher"}
    return Row(**fields, what=what, **vars(estimate), **more)


if __name__ == "__main__":
    SCRIPT.main(measure)
