"""Defective solar cells: a classifier of 1.9 M parameters, with and without attention.

    python benchmarks/solar_cells.py [--quick] [--anew]

Protocol. ELPV, 2,624 photographs of cells, shrunk to 192 x 192 pixels, all of them: none
is left out as unsure, and defective means a probability of 2/3 or 1. Five folds,
stratified by cell type and probability (`StratifiedKFold`, shuffled with seed 0), so that
each photograph is tested once, as in the random splits of published figures: cells of one
module may stand on both sides. The model and its training are the zoo's
(`zoo.train.solar_defects`: DeepOpt, 16 epochs, mixup, seed k for fold k, the weights of
the last epoch, threshold 0.5, the mean over four flips); the learning rates and the size
come from `solar_tuning.py`, which saw photographs of the training part of fold 0 only,
and mixup from four trainings on the same photographs. Each fold is trained with and
without SC-attention. The *source* split (`data.elpv("source")`, whole modules on one
side) is trained with attention, seed 0.

Metrics over all test photographs: accuracy, AUROC, F1, recall at 95 % precision, and the
expected calibration error (15 bins) after temperature scaling; the temperature of a fold
is fitted on the logits of the other four. Intervals: bootstrap over photographs; for the
effect of attention, Student's over the five paired folds.

Targets, stated before the run: accuracy at least 91.8 % (the best published figure with
at most 2 M parameters is 91.74, arXiv 2302.07455), AUROC at least 0.95, F1 at least 0.86,
calibration error at most 0.03, at most 2 M parameters. Source split: accuracy at least
0.82, AUROC at least 0.88 (the zoo's earlier model: 0.777 and 0.841). Attention: it helps
if the interval of the difference in AUROC is above 0. The folds' test parts are looked at
once, by this script. `--quick` trains one epoch on a fifth of fold 0.

Added later, after the one look at the test parts: the network and its training are in
`models/solar_net.py`, because the zoo keeps its earlier model. That one is as good on the
random split and better on the source split (AUROC 0.841, though with 3.5 M parameters and
288 x 288 pixels), whose test part holds monocrystalline modules of 48 and of 72 cells, of
which the training part has none. Tried before the look, on 420 photographs of the
training part of fold 0: 32 epochs (AUROC 0.937), 256 pixels (0.935), no mixup (0.926) and
rotations by 90 degrees (0.922), against 0.939 for these settings. Tried after it, on
held-out modules of the training part of the source split: photographs normalized one by
one, with no difference (AUROC 0.957 against 0.954).

Added later: the calibration error has an interval, the bootstrap's. The settings were
chosen on photographs that are in the test parts of folds 1 to 4, so that fold 0 alone
decides, with the same targets but that of the calibration error, which chance makes larger
on fewer photographs; what all five reach is information, and what they miss stays missed.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from harness.interval import Estimate, bootstrap_of, resampled, student
from harness.script import BENCHMARKS, Run, Script
from models import solar_net
from sklearn.model_selection import StratifiedKFold

from deepseek_learn import data
from deepseek_learn.data import ImageDataset
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory
from deepseek_learn.measure.resampling import samples
from deepseek_learn.training import predict
from deepseek_learn.zoo import calibration, metrics

SCRIPT = Script(
    __file__,
    __doc__,
    quick="one epoch",
    anew=True,
    of_the_machine=False,
    environment=memory.REUSE_FREED,
)
FOLDS, DRAWS = 5, 2000
CHECKPOINTS = BENCHMARKS / "tables" / "runs"  # not in git


def train_and_predict(
    train: ImageDataset,
    test: ImageDataset,
    attention: str | None,
    seed: int,
    quick: bool,
) -> dict:
    """The logits of the test photographs and the seconds of the training."""
    torch.set_num_threads(1)
    stored = CHECKPOINTS / f"solar_cells_{attention}_{seed}_{len(train)}.checkpoint"
    stored.parent.mkdir(parents=True, exist_ok=True)
    settings = solar_net.SETTINGS
    settings = replace(settings, epochs=1) if quick else settings
    checkpoint = None if quick else stored
    model, run = solar_net.train(
        train, settings, attention=attention, seed=seed, checkpoint=checkpoint
    )
    logits, _ = predict(solar_net.Flips(model), test)
    stored.unlink(missing_ok=True)
    return {
        "files": list(test.frame["file"]),
        "logits": logits.tolist(),
        "cpu_s": run.cpu_seconds,
        "loss": float(run.history["loss"].iloc[-1]),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def folds(dataset: ImageDataset) -> list[tuple[np.ndarray, np.ndarray]]:
    frame = dataset.frame
    strata = frame["type"] + frame["probability"].round(2).astype(str)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(frame)), strata))


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs(anywhere=True)
    dataset = data.elpv(size=solar_net.SETTINGS.size).whole()
    results: dict[str, list[dict]] = {"sc": [], "none": []}
    parts = folds(dataset)[: 1 if run.quick else FOLDS]
    for fold, (train, test) in enumerate(parts):
        train = train[::5] if run.quick else train
        for name in results:
            work = partial(
                train_and_predict,
                dataset.subset(train),
                dataset.subset(test),
                None if name == "none" else name,
                fold,
                run.quick,
            )
            results[name].append(runs.once({"fold": fold, "attention": name}, work))
    truth = dict(zip(dataset.frame["file"], dataset.labels.tolist(), strict=True))
    yield from rows_of_folds(results["sc"], truth, "ELPV, five folds", CHOICES)
    if run.quick:
        return
    yield from rows_of_folds(results["sc"], truth, "ELPV, fold 0", None, only=0)
    yield from rows_of_attention(results, truth)
    source = data.elpv("source", size=solar_net.SETTINGS.size)
    key = {"fold": "source", "attention": "sc"}
    work = partial(train_and_predict, source.train, source.test, "sc", 0, False)
    yield from rows_of_source(runs.once(key, work), truth)


# ---------------------------------------------------------------- the rows


def arrays(
    results: list[dict], truth: dict[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits `[N, 2]` and the labels `[N]` of all test photographs."""
    logits = torch.tensor([row for each in results for row in each["logits"]])
    labels = torch.tensor([truth[file] for each in results for file in each["files"]])
    return logits, labels


def values(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    score = (logits[:, 1] - logits[:, 0]).numpy()
    positive = labels.numpy() == 1
    return {
        "accuracy": float(((score > 0) == positive).mean()),
        "AUROC": metrics.auroc(logits, labels),
        "F1": metrics.f1(score > 0, positive),
        "recall at 95 % precision": metrics.at_precision(score, positive, 0.95)[0],
    }


def with_intervals(logits: torch.Tensor, labels: torch.Tensor) -> dict:
    draws = [
        values(logits[index], labels[index])
        for index in map(torch.from_numpy, islice(samples(len(labels)), DRAWS))
    ]
    return {
        name: resampled(value, [draw[name] for draw in draws], len(labels))
        for name, value in values(logits, labels).items()
    }


def calibrated(results: list[dict], truth: dict[str, int]) -> list[torch.Tensor]:
    """Each fold's probabilities of "defective", with the others' temperature."""
    probabilities = []
    for i, each in enumerate(results):
        others = [other for j, other in enumerate(results) if j != i] or [each]
        divisor = calibration.temperature(*arrays(others, truth))
        logits, _ = arrays([each], truth)
        probabilities.append((logits / divisor).softmax(1)[:, 1])
    return probabilities


CHOICES = "learning rates, size and mixup were chosen on photographs of folds 1 to 4"
TARGETS = {"accuracy": 0.918, "AUROC": 0.95, "F1": 0.86}
SOURCE_TARGETS = {"accuracy": 0.82, "AUROC": 0.88}


def rows_of_folds(
    results: list[dict],
    truth: dict[str, int],
    place: str,
    choices: str | None,
    only: int | None = None,
) -> Iterator[Row]:
    """The rows of all folds, or of `only` one of them."""
    tested = slice(None) if only is None else slice(only, only + 1)
    logits, labels = arrays(results[tested], truth)
    for name, estimate in with_intervals(logits, labels).items():
        facts = vars(estimate)
        if target := TARGETS.get(name):
            facts |= {"target": target, "choices": choices}
        if name == "accuracy":
            facts |= {"peer": "arXiv 2302.07455", "peer_measured": 0.9174}
        yield row(f"{place}: {name}", **facts)
    error = error_of(torch.cat(calibrated(results, truth)[tested]), labels)
    what = f"{place}: calibration error after temperature scaling"
    target = 0.03 if only is None else None  # of fewer photographs it is larger
    yield row(what, target, better="lower", choices=choices, **vars(error))
    if only is None:
        size = results[0]["parameters"] / 1e6
        yield row("parameters", 2.0, unit="million", better="lower", measured=size)


def error_of(probabilities: torch.Tensor, labels: torch.Tensor) -> Estimate:
    """The expected calibration error in 15 bins, and its bootstrap over photographs."""

    def error(index: np.ndarray) -> float:
        return calibration.calibration_error(probabilities[index], labels[index], 15)

    return bootstrap_of(error, len(labels), repeats=DRAWS)


def rows_of_attention(results: dict, truth: dict[str, int]) -> Iterator[Row]:
    each = {
        name: [values(*arrays([fold], truth)) for fold in folds]
        for name, folds in results.items()
    }
    for name in ("AUROC", "accuracy"):
        pairs = zip(each["sc"], each["none"], strict=True)
        difference = student([a[name] - b[name] for a, b in pairs])
        what = f"ELPV, five folds: {name} with SC-attention minus without"
        yield row(what, 0.0 if name == "AUROC" else None, **vars(difference))


def rows_of_source(result: dict, truth: dict[str, int]) -> Iterator[Row]:
    for name, estimate in with_intervals(*arrays([result], truth)).items():
        yield row(
            f"ELPV, source split: {name}", SOURCE_TARGETS.get(name), **vars(estimate)
        )


def row(what: str, target: float | None = None, **fields) -> Row:
    fields = {"unit": "of 1", "better": "higher"} | fields
    return Row(claim="C13", source="ours", what=what, target=target, **fields)


if __name__ == "__main__":
    SCRIPT.main(measure)
