"""Does attention learn better? Equal steps and equal time, matched initial scale.

    python benchmarks/attention_learning.py [--quick]

Protocol, fixed before the counted runs. Two sets of real photographs, 64 x 64 pixels:
"solar": ELPV, source split, all 1,664 training pictures; "clutter": 2,000 Fashion-MNIST
pictures, each at a random place of a 64 x 64 canvas with six fragments of others (a
task where looking at the right place should pay), 3,000 test pictures. One small
residual network (widths 12, 24, 48), one attention module before each addition, all
at initial scale 1; AdamW, lr 3e-3, cosine, batch 64, 8 epochs, mirror images and
shifts; last epoch; measured: accuracy ("clutter") and AUROC ("solar") on the test
part. Five seeds; within a seed every variant sees the same pictures in the same order.
Differences are paired, with a 95 % t interval; of the 5-seed intervals one in twenty
misses the truth by chance.

Equal time: the time of a training step of each variant is measured in turn with the
plain network's; plain then also trains for the number of epochs that takes the
variant's time, and the variant is compared with that (where it is the same number,
one row stands for both). "slim" has widths 8, 16, 32 and SC-attention.

Counted before: the same protocol with 12 epochs on the plain network (a pilot for the
time, its score seen), then with 8 epochs and a slim network of widths 10, 20, 40, whose
step took as long as plain's. That run's single scores were not kept; this one replaces
it whatever comes out, and keeps them.

Each finished run is one line of results/attention_learning.jsonl; an interrupted
benchmark goes on from there, unless protocol, processor or PyTorch changed.
"""

import argparse
import contextlib
import hashlib
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path

EPOCHS, BATCH, LR, SEEDS = 8, 64, 3e-3, 5
SETS = ("solar", "clutter")
MODULES = ("se", "cbam", "eca", "sc")
GUIDE_GAIN = 2.1  # points, the guide's claim for ImageNet
RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "attention_learning.jsonl"
QUICK = RESULTS / "quick" / RUNS.name  # quick runs; a quick run also reuses full ones


def build(variant: str, classes: int):
    """A network by the variant's name: plain, slim or the name of a module."""
    from deepseek_learn.attention import attach
    from deepseek_learn.zoo.nets.fashion_net import SmallResNet

    widths = (8, 16, 32) if variant == "slim" else (12, 24, 48)
    model = SmallResNet(classes, widths=widths, pool=2)
    name = "sc" if variant == "slim" else variant
    return model if name == "plain" else attach(model, name, where="residual")


def pictures(name: str):
    """The training and test parts of a dataset, 64 x 64."""
    from deepseek_learn import data

    if name == "solar":
        splits = data.elpv(split="source", size=64)
        return splits.train, splits.test
    splits = data.fashion_mnist()
    return clutter(splits.train, 2000, seed=0), clutter(splits.test, 3000, seed=1)


def clutter(source, count: int, seed: int):
    """Each image at a random position on a canvas, with six fragments of others."""
    import numpy as np
    import torch

    from deepseek_learn.data import ImageDataset

    rng = np.random.default_rng(seed)
    order = rng.permutation(len(source))[:count]
    items = source.images[:, 0].numpy()
    canvas = np.zeros((count, 64, 64), np.uint8)
    for k, index in enumerate(order):
        for _ in range(6):
            fragment = items[rng.integers(len(items))]
            r, c = rng.integers(0, 28 - 12, 2)
            y, x = rng.integers(0, 64 - 12, 2)
            canvas[k, y : y + 12, x : x + 12] = fragment[r : r + 12, c : c + 12]
        y, x = rng.integers(0, 64 - 28, 2)
        canvas[k, y : y + 28, x : x + 28] = items[index]
    frame = source.frame.iloc[order]
    return ImageDataset(torch.from_numpy(canvas)[:, None], source.labels[order], frame)


def run(task: str, variant: str, seed: int, epochs: int) -> dict:
    """Train one network and evaluate it on the test part, in one thread."""
    import torch

    from deepseek_learn.training import Recipe, accuracy, cosine, fit, predict
    from deepseek_learn.zoo.metrics import auroc
    from deepseek_learn.zoo.train.fashion_net import augment

    torch.set_num_threads(1)
    train, test = pictures(task)
    torch.manual_seed(seed)
    model = build(variant, classes=len(set(train.labels.tolist())))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05)
    fitted = fit(
        model,
        train,
        optimizer,
        epochs=epochs,
        recipe=Recipe(
            batch_size=BATCH, schedule=cosine, augment=augment, autocast=None
        ),
        seed=seed,
        progress=False,
    )
    predictions = predict(model, test)
    score = auroc(*predictions) if task == "solar" else accuracy(*predictions)
    return {
        "task": task,
        "variant": variant,
        "seed": seed,
        "epochs": epochs,
        "score": score,
        "cpu_seconds": fitted.cpu_seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def step_ratios(rounds: int = 31) -> dict[str, float]:
    """Each variant's training-step time relative to plain's, interleaved."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    variants = ("plain", *MODULES, "slim")
    nets = {v: build(v, 10).train() for v in variants}
    x, y = torch.rand(BATCH, 1, 64, 64), torch.randint(10, (BATCH,))
    times = {v: [] for v in variants}
    for i in range(rounds):
        for name, net in nets.items():
            start = time.process_time()
            F.cross_entropy(net(x), y).backward()
            if i:
                times[name].append(time.process_time() - start)
    return {
        v: statistics.median(
            a / b for a, b in zip(times[v], times["plain"], strict=True)
        )
        for v in variants
    }


def epochs_of(ratios: dict[str, float]) -> dict[str, int]:
    """Number of plain epochs that take as long as each variant's training."""
    return {variant: round(EPOCHS * ratio) for variant, ratio in ratios.items()}


def conditions() -> dict:
    """The conditions a stored run must share with this one to be reused."""
    from deepseek_learn.ledger.results import machine

    facts = machine()
    protocol = hashlib.sha256(__doc__.encode()).hexdigest()[:12]
    return {"protocol": protocol, "cpu": facts["cpu"], "torch": facts["torch"]}


def finished(*paths: Path) -> list[dict]:
    """Stored lines with these conditions; a truncated line is skipped."""
    rows, here = [], conditions()
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return [row for row in rows if here.items() <= row.items()]


def append(row: dict, path: Path) -> None:
    stamped = row | conditions() | {"date": date.today().isoformat()}
    with path.open("a") as file:
        file.write("\n" + json.dumps(stamped))


def key(row: dict) -> tuple:
    return row["task"], row["variant"], row["seed"], row["epochs"]


def paired(rows: list[dict], task: str, left: tuple, right: tuple, seeds: int) -> dict:
    """Mean of the differences `left - right` over seeds in points, with 95 % t bounds."""
    from scipy.stats import t

    score = {key(r): r["score"] for r in rows}
    differences = [
        100
        * (score[(task, left[0], s, left[1])] - score[(task, right[0], s, right[1])])
        for s in range(seeds)
    ]
    mean = statistics.mean(differences)
    half = t.ppf(0.975, seeds - 1) * statistics.stdev(differences) / seeds**0.5
    bounds = {"low": mean - half, "high": mean + half, "interval": "95 % t"}
    return {"measured": mean, "n": seeds} | bounds


UNTESTABLE = {
    "claim": "C6",
    "source": "guide",
    "what": "ResNet-50 on ImageNet: top-1 gained by SC-attention",
    "unit": "points",
    "target": GUIDE_GAIN,
    "better": "higher",
    "measured": None,
    "note": "ImageNet is not to be had offline; the rows below are a stand-in",
}


def summarize(rows: list[dict], ratios: dict[str, float], seeds: int) -> list[dict]:
    """The ledger's rows: scores, and paired differences from plain and from peers."""
    result = [UNTESTABLE]
    for task in SETS:
        for variant in ("plain", *MODULES, "slim"):
            result.append(score_row(rows, task, variant, seeds))
        for variant in (*MODULES, "slim"):
            result += gain_rows(rows, ratios, task, variant, seeds)
        for peer in ("se", "cbam", "eca"):
            result.append(peer_row(rows, task, peer, seeds))
    return result


def measure(task: str) -> str:
    return "AUROC" if task == "solar" else "accuracy"


def score_row(rows: list[dict], task: str, variant: str, seeds: int) -> dict:
    """Mean and standard deviation of a variant's scores over seeds."""
    keys = {(task, variant, seed, EPOCHS) for seed in range(seeds)}
    scores = [100 * r["score"] for r in rows if key(r) in keys]
    mean, spread = statistics.mean(scores), statistics.stdev(scores)
    return {
        "claim": "C6",
        "source": "ours",
        "what": f"{task}: {variant}, {measure(task)}, mean over seeds",
        "unit": "points",
        "target": None,
        "better": "higher",
        "measured": mean,
        "low": mean - spread,
        "high": mean + spread,
        "interval": "± sd",
        "n": seeds,
        "note": "",
    }


def gain_rows(rows, ratios, task: str, variant: str, seeds: int) -> list[dict]:
    """A variant minus plain: at equal steps, and at equal time where that differs."""
    epochs = {"steps": EPOCHS, "time": epochs_of(ratios)[variant]}
    if epochs["steps"] == epochs["time"]:
        epochs = {"steps, which is equal time": EPOCHS}
    return [
        {
            "claim": "C6",
            "source": "guide" if variant == "sc" else "ours",
            "what": f"{task}: {variant} minus plain at equal {mode}, {measure(task)}",
            "unit": "points",
            "target": {"sc": GUIDE_GAIN, "slim": 0.0}.get(variant),
            "better": "higher",
            "note": f"plain: {count} epochs, {variant}: {EPOCHS}; a step takes "
            f"{ratios[variant]:.2f} of plain's time",
        }
        | paired(rows, task, (variant, EPOCHS), ("plain", count), seeds)
        for mode, count in epochs.items()
    ]


def peer_row(rows, task: str, peer: str, seeds: int) -> dict:
    """SC-attention minus another module, at equal steps."""
    return {
        "claim": "C6",
        "source": "ours",
        "what": f"{task}: sc minus {peer} at equal steps, {measure(task)}",
        "unit": "points",
        "target": None,
        "better": "higher",
        "note": "",
    } | paired(rows, task, ("sc", EPOCHS), (peer, EPOCHS), seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="two seeds only, kept in results/quick/"
    )
    arguments = parser.parse_args()
    import torch

    from deepseek_learn.ledger.results import write_result

    paths = (RUNS, QUICK) if arguments.quick else (RUNS,)
    paths[-1].parent.mkdir(parents=True, exist_ok=True)
    rows = finished(*paths)
    ratios = next((r["ratios"] for r in rows if "ratios" in r), None)
    if ratios is None:
        ratios = step_ratios()
        append({"ratios": ratios}, paths[-1])
    # where a run is in both files, use the full one
    rows = list({key(r): r for r in reversed(rows) if "ratios" not in r}.values())
    print("time of a training step over plain's:", ratios)
    equal_time = epochs_of(ratios)
    seeds = 2 if arguments.quick else SEEDS
    jobs = [
        (task, variant, seed, EPOCHS)
        for task in SETS
        for seed in range(seeds)
        for variant in ("plain", *MODULES, "slim")
    ]
    jobs += [
        (task, "plain", seed, epochs)
        for task in SETS
        for seed in range(seeds)
        for epochs in sorted(set(equal_time.values()) - {EPOCHS})
    ]
    todo = [w for w in jobs if w not in {key(r) for r in rows}]
    # two single-threaded workers: the runs' processor time is what counts
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, *w) for w in todo]):
            row = future.result()
            rows.append(row)
            append(row, paths[-1])
            print(len(rows), row, flush=True)
    result = summarize(rows, ratios, seeds)
    command = "python benchmarks/attention_learning.py"
    mode = "quick" if arguments.quick else "full"
    last = {"date": max(row["date"] for row in finished(*paths))}
    facts = {"protocol": __doc__, "of_the_machine": False}
    torch.set_num_threads(1)  # as in every run
    result = [row | last for row in result]
    print(write_result("attention_learning", result, command, mode, **facts))


if __name__ == "__main__":
    sys.exit(main())
