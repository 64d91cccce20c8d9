"""Input-adaptive precision: base planes for all inputs, all planes for the unsure.

The protocol is in `benchmarks/dpg_quality.py`.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from harness.interval import quartiles, spread
from harness.runs import end_time
from harness.script import Run
from torch import nn

from deepseek_learn import data, dpg, zoo
from deepseek_learn.ledger.rows import Row
from deepseek_learn.training import Recipe, cosine, fit

SEEDS, EPOCHS, ROUNDS, BATCH = (0, 1, 2), 12, 15, 500
AGREEMENT, AGREEMENT_CNN, TRAIN = 0.999, 0.998, 6000


def perceptron(seed: int, splits, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 1024),
        nn.ReLU(),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        nn.Linear(1024, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    recipe = Recipe(schedule=cosine, autocast=None)
    train = splits.train.subset(torch.arange(TRAIN))
    options = {"epochs": epochs, "seed": seed, "progress": False}
    fit(model, train, optimizer, recipe=recipe, **options)
    return model.eval()


def measure_cascade(
    model, splits, seed: int, held_out, agreement: float, rounds: int
) -> dict:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(TRAIN, generator=generator)[:512]
    calibration = splits.train.batch(rows)[0].split(32)
    small = dpg.compress(model, calibration, refine=True)
    cascade = dpg.Cascade(small.model)
    threshold = cascade.calibrate(held_out.split(BATCH), agreement, reference=model)
    print(threshold.why(), flush=True)
    pictures, labels = splits.test.batch()
    parts = pictures.split(BATCH)
    with torch.inference_mode():
        reference = torch.cat([model(x) for x in parts]).argmax(1)
        base = torch.cat([answer(small.model, x, False) for x in parts]).argmax(1)
        full = torch.cat([answer(small.model, x, True) for x in parts]).argmax(1)
        shares, answers = [], []
        for x in parts:
            answers.append(cascade(x).argmax(1))
            shares.append(cascade.last_refined)
        adaptive = torch.cat(answers)
        times = timed(cascade, small.model, model, parts, rounds)
    same = {"base": base, "all_planes": full, "cascade": adaptive}
    metrics = {f"{n}_agreement": percent(a == reference) for n, a in same.items()}
    metrics |= {f"{n}_accuracy": percent(a == labels) for n, a in same.items()}
    metrics["float32_accuracy"] = percent(reference == labels)
    metrics["refined"] = 100 * statistics.mean(shares)
    metrics["stored"] = 100 * small.ratio
    return metrics | times


def answer(model: nn.Module, x: torch.Tensor, refined: bool) -> torch.Tensor:
    return dpg.set_precision(model, refined=refined, wide=False)(x)


def percent(right: torch.Tensor) -> float:
    return 100 * right.double().mean().item()


def timed(cascade, small, original, parts, count: int) -> dict:
    """Seconds of a pass over the test part, variants interleaved, and the ratios."""
    calls = {
        "cascade": lambda x: cascade(x),
        "all": lambda x: answer(small, x, True),
        "base": lambda x: answer(small, x, False),
        "float32": original,
    }
    rounds = []
    for i in range(count + 1):
        row = {}
        for name, call in calls.items():
            start = time.process_time()
            for x in parts:
                call(x)
            row[name] = time.process_time() - start
        if i:  # the first round warms up
            rounds.append(row)
    faster = quartiles([row["all"] / row["cascade"] for row in rounds])
    medians = {f"{n}_ms": 1000 * statistics.median(r[n] for r in rounds) for n in calls}
    bounds = {"low": faster.low, "high": faster.high}
    return {"faster": faster.measured} | bounds | medians


# field of a run → description, unit, target, better
FIELDS = {
    "cascade_agreement": ("the float32 model's answer", "%", 99.9, "higher"),
    "refined": ("share of inputs refined", "%", 3, "lower"),
    "faster": ("faster than always using all planes", "x", 1.4, "higher"),
    "stored": ("stored bytes relative to float32", "%", 30, "lower"),
}


def summarize(runs: list[dict]) -> Iterator[Row]:
    """The ledger's rows: means over the perceptrons, and the CNN for information."""
    perceptrons = [run for run in runs if run["model"].startswith("perceptron")]
    [cnn] = [run for run in runs if run["model"] == "fashion_net"]
    for field, (what, unit, target, better) in FIELDS.items():
        values = [run[field] for run in perceptrons]
        mean = spread(values, "range over seeds", statistics.mean)
        row = Row(
            claim="C1",
            source="ours",
            what=f"cascade, perceptrons: {what}",
            unit=unit,
            better=better,
            target=target,
            note="; ".join(
                map(times if field == "faster" else agreements, perceptrons)
            ),
            **vars(mean),
        )
        information = {"target": None, "low": None, "high": None, "interval": None}
        information |= {"what": f"cascade, fashion_net: {what}", "note": None}
        single = replace(row, measured=cnn[field], n=1, **information)
        for each in (row, single):
            yield each.at(end_time(*runs)) if field == "faster" else each


def agreements(run: dict) -> str:
    return (
        f"{run['model']}: base alone agrees on {run['base_agreement']:.2f} %, all "
        f"planes on {run['all_planes_agreement']:.2f} %"
    )


def times(run: dict) -> str:
    return (
        f"{run['model']}: float32 {run['float32_ms']:.0f}, all planes "
        f"{run['all_ms']:.0f}, base {run['base_ms']:.0f}, cascade "
        f"{run['cascade_ms']:.0f} ms"
    )


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs(part="cascade")
    splits, epochs = data.fashion_mnist(), 2 if run.quick else EPOCHS
    validation = splits.validation.batch()[0]
    held_out = torch.cat([splits.train.batch(slice(TRAIN, None))[0], validation])

    def one_perceptron(seed: int) -> dict:
        model = perceptron(seed, splits, epochs)
        return measure_cascade(model, splits, seed, held_out, AGREEMENT, ROUNDS)

    for seed in SEEDS[:1] if run.quick else SEEDS:
        runs.once({"model": f"perceptron {seed}"}, lambda s=seed: one_perceptron(s))
    cnn = zoo.load("fashion_net")
    runs.once(
        {"model": "fashion_net"},
        lambda: measure_cascade(cnn, splits, 0, validation, AGREEMENT_CNN, 3),
    )
    return summarize(runs.rows)
