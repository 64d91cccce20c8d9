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

Added later: the widths of "slim" were changed after a run on the same pictures, so that
what it reaches is information, and what it misses stays missed.
"""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

from harness.interval import Estimate, student
from harness.runs import Runs
from harness.script import Run, Script

from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="two seeds, two epochs", of_the_machine=False)
EPOCHS, BATCH, LR, SEEDS = 8, 64, 3e-3, 5
SETS = ("solar", "clutter")
MODULES = ("se", "cbam", "eca", "sc")
VARIANTS = ("plain", *MODULES, "slim")
GUIDE_GAIN = 2.1  # points, the guide's claim for ImageNet


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


def train_one(task: str, variant: str, seed: int, epochs: int) -> dict:
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
    result = fit(
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
        "score": score,
        "cpu_seconds": result.cpu_seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def step_ratios(rounds: int = 31) -> dict[str, float]:
    """Each variant's training-step time relative to plain's, interleaved."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    nets = {v: build(v, 10).train() for v in VARIANTS}
    x, y = torch.rand(BATCH, 1, 64, 64), torch.randint(10, (BATCH,))
    times = {v: [] for v in VARIANTS}
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
        for v in VARIANTS
    }


class Comparison:
    """The scores of all runs, and the differences between variants.

    Args:
        runs: lines with "task", "variant", "seed", "epochs" and "score".
        ratios: each variant's training-step time relative to plain's.
    """

    def __init__(
        self,
        runs: list[dict],
        ratios: dict[str, float],
        seeds: int = SEEDS,
        epochs: int = EPOCHS,
    ):
        self.ratios, self.seeds, self.epochs = ratios, seeds, epochs
        names = ("task", "variant", "seed", "epochs")
        self.scores = {tuple(r[n] for n in names): r["score"] for r in runs}

    @property
    def equal_time(self) -> dict[str, int]:
        """Number of plain epochs that take as long as each variant's training."""
        return {v: round(self.epochs * ratio) for v, ratio in self.ratios.items()}

    def needed(self) -> list[tuple]:
        """(task, variant, seed, epochs) of all runs."""
        longer = sorted(set(self.equal_time.values()) - {self.epochs})
        cases = [(v, self.epochs) for v in VARIANTS] + [("plain", n) for n in longer]
        seeds = range(self.seeds)
        return [(t, v, seed, n) for v, n in cases for t in SETS for seed in seeds]

    def mean(self, task: str, variant: str) -> Estimate:
        """Mean and standard deviation of a variant's scores over seeds, in points."""
        keys = [(task, variant, seed, self.epochs) for seed in range(self.seeds)]
        scores = [100 * self.scores[key] for key in keys]
        mean, deviation = statistics.mean(scores), statistics.stdev(scores)
        return Estimate(mean, mean - deviation, mean + deviation, "± sd", self.seeds)

    def gain(self, task: str, variant: str, other: str, epochs: int) -> Estimate:
        """Paired differences from `other`, which trained for `epochs`, in points."""
        pairs = [
            ((task, variant, seed, self.epochs), (task, other, seed, epochs))
            for seed in range(self.seeds)
        ]
        return student([100 * (self.scores[a] - self.scores[b]) for a, b in pairs])


row = partial(Row, claim="C6", unit="points", better="higher")
UNTESTABLE = row(
    source="guide",
    what="ResNet-50 on ImageNet: top-1 gained by SC-attention",
    target=GUIDE_GAIN,
    measured=None,
    note="ImageNet is unavailable offline; the rows below are a stand-in",
)


def summarize(comparison: Comparison) -> Iterator[Row]:
    """The ledger's rows: scores, and paired differences from plain and from peers."""
    yield UNTESTABLE
    for task, metric in (("solar", "AUROC"), ("clutter", "accuracy")):
        for variant in VARIANTS:
            what = f"{task}: {variant}, {metric}, mean over seeds"
            yield row(source="ours", what=what, **vars(comparison.mean(task, variant)))
        for variant in (*MODULES, "slim"):
            yield from gain_rows(comparison, task, variant, metric)
        for peer in ("se", "cbam", "eca"):
            what = f"{task}: sc minus {peer} at equal steps, {metric}"
            gain = comparison.gain(task, "sc", peer, comparison.epochs)
            yield row(source="ours", what=what, **vars(gain))


CHOICES = {"slim": "its widths were changed after a run on the same pictures"}


def gain_rows(
    comparison: Comparison, task: str, variant: str, metric: str
) -> Iterator[Row]:
    """A variant minus plain: at equal steps, and at equal time where that differs."""
    own = comparison.epochs
    epochs = {"steps": own, "time": comparison.equal_time[variant]}
    if epochs["steps"] == epochs["time"]:
        epochs = {"steps, which is equal time": own}
    for mode, count in epochs.items():
        yield row(
            source="guide" if variant == "sc" else "ours",
            what=f"{task}: {variant} minus plain at equal {mode}, {metric}",
            target={"sc": GUIDE_GAIN, "slim": 0.0}.get(variant),
            choices=CHOICES.get(variant),
            note=f"plain: {count} epochs, {variant}: {own}; a step takes "
            f"{comparison.ratios[variant]:.2f} of plain's time",
            **vars(comparison.gain(task, variant, "plain", count)),
        )


def train_all(runs: Runs, jobs: list[tuple], conditions: dict) -> list[dict]:
    """The lines of all jobs; those that are not there yet run in two processes."""
    names = ("task", "variant", "seed", "epochs")
    keys = {job: dict(zip(names, job, strict=True)) | conditions for job in jobs}
    lines = {job: runs.find(key) for job, key in keys.items()}
    # two single-threaded workers: the runs' processor time is what counts
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        todo = [job for job in jobs if lines[job] is None]
        futures = {pool.submit(train_one, *job): job for job in todo}
        for future in as_completed(futures):
            job = futures[future]
            lines[job] = runs.record(keys[job], future.result())
    return list(lines.values())


def measure(run: Run) -> list[Row]:
    import torch

    torch.set_num_threads(1)  # as in every run
    runs = run.finished_runs()
    conditions = {"torch": torch.__version__}  # the protocol: another one trains anew
    key = {"stage": "step time"} | conditions
    ratios = runs.once(key, lambda: {"ratios": step_ratios()})["ratios"]
    extent = (2, 2) if run.quick else (SEEDS, EPOCHS)
    jobs = Comparison([], ratios, *extent).needed()
    lines = train_all(runs, jobs, conditions)
    date = max(line["date"] for line in runs.rows)
    rows = summarize(Comparison(lines, ratios, *extent))
    return [replace(row, date=date) for row in rows]


if __name__ == "__main__":
    SCRIPT.main(measure)
