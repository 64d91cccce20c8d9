"""The whole training recipe against a tuned AdamW in float32: time to its accuracy.

    python benchmarks/training_recipe.py [--quick] [--anew]

Protocol. `training.fit` as it comes (DeepOpt, warm-up - stable - decay, bfloat16 where
the processor multiplies it) against `fit` with PyTorch's fused AdamW and float32. Tasks:
fashion, a residual network of 78 k parameters on 8,000 pictures in batches of 128, by
accuracy; bacteria, a U-Net of 272 k on the training tiles of 56 x 56 that show any, turned
and mirrored in all eight ways, in batches of 16, by the overlap (IoU). One thread.

Both are tuned the same way (`optim.tune`) by the validation score of seed 0: learning
rate in steps of 2 and first beta (the recipe's: the momentum that DeepOpt starts with),
for AdamW also the schedule (a half cosine, or that of the recipe), at most 12
configurations. AdamW is tuned and run for EPOCHS epochs (fashion 8, bacteria 6), the
recipe tuned at half of them. Then seeds 1 to 5 and the test part, on which nothing was
chosen: the target is AdamW's mean score after all its epochs. The recipe is run for 1,
2, 3, ... epochs, each a run of its own, from half of AdamW's down while it reaches the
target, else up, to twice as many. Epochs to the target: a line in the score over the
logarithm of the epochs. No epoch's weights are chosen: the last one's count.

Time. An epoch of each in turn, 5 rounds in one process, processor time, medians of the
ratios within a round. Time to the score = ratio of epochs x ratio of an epoch's time.

Target, stated before the run. The guide's: training 40 % more efficient, AdamW's time
over the recipe's at least 1.4 on each task. For information: what bfloat16 alone changes
in an epoch's time.

Finished runs are lines in `results/training_recipe.jsonl`. `--quick`: fashion, 2 epochs
of AdamW, 2 configurations, 2 seeds.

Added later, before any run of it: AdamW in bfloat16 beside AdamW in float32, so that what
the data type gains is not credited to the recipe. It is tuned, run and raced as the other
is, with its own settings, score and epoch's time; the same target, 1.4, on each task.
Where the processor does not multiply bfloat16 it is untestable. `--speed` reads the times
of an epoch once more, with the runs that are there, as one reading of the rows.
"""

import statistics
import time
from dataclasses import replace
from functools import partial

import torch
from harness.interval import Estimate
from harness.runs import end_time
from harness.script import Run, Script
from models.optimizer_builds import decay_groups
from models.optimizer_tasks import Bacteria, Fashion
from racing import race
from racing.rows import search_in_words
from torch import nn

from deepseek_learn import DeepOpt
from deepseek_learn.data import ImageDataset
from deepseek_learn.ledger.rows import Row
from deepseek_learn.machine import multiplies_bfloat16
from deepseek_learn.optim import tune
from deepseek_learn.training import Recipe, accuracy, cosine, fit, predict, wsd
from deepseek_learn.zoo.metrics import iou
from deepseek_learn.zoo.train import bacteria_unet, fashion_net

SCRIPT = Script(__file__, __doc__, quick="one task, few runs", anew=True, speed=True)
GUIDE, ROUNDS = 1.4, 5
EPOCHS = {"fashion": 8, "bacteria": 6}
RATES = {"adamw": (1e-3, 2e-3, 4e-3, 8e-3, 16e-3), "recipe": (0.01, 0.02, 0.04, 0.08)}
BETAS, SCHEDULES = (0.7, 0.8, 0.9, 0.95), {"cosine": cosine, "wsd": wsd}
AXES = {way: {"lr": rates, "beta1": BETAS} for way, rates in RATES.items()}
AXES["adamw"] |= {"schedule": tuple(SCHEDULES)}
START = {"adamw": {"lr": 4e-3, "beta1": 0.9, "schedule": "cosine"}}
START["recipe"] = {"lr": 0.02, "beta1": 0.9}
BFLOAT16 = "adamw, bfloat16"
AXES[BFLOAT16], START[BFLOAT16] = AXES["adamw"], START["adamw"]
AUTOCAST = {
    "adamw": None,
    BFLOAT16: torch.bfloat16,
}  # the recipe: `fit` with its defaults
TITLES = {"adamw": "AdamW", BFLOAT16: "AdamW in bfloat16"}


class Job:
    """One of the two tasks, as arguments of `fit`."""

    def __init__(self, name: str):
        self.name, self.task = name, {"fashion": Fashion, "bacteria": Bacteria}[name]()
        self.splits = self.task.splits
        batch = self.task.batch
        if name == "fashion":
            self.train, self.score = self.splits.train, accuracy
            self.recipe = Recipe(batch_size=batch, augment=fashion_net.augment)
        else:
            self.train, self.score = eight_views(self.task.positive_tiles), iou
            augment, loss = bacteria_unet.augment, bacteria_unet.loss
            self.recipe = Recipe(loss, batch_size=batch, augment=augment)

    def train_model(
        self, way: str, c: dict, epochs: int, seed: int, **change
    ) -> nn.Module:
        """Train a new model in one of the two ways."""
        model = self.task.model(seed)
        optimizer = make(way, model, c)
        recipe = replace(self.recipe, **change)
        if way != "recipe":
            schedule = SCHEDULES[c["schedule"]]
            recipe = replace(recipe, autocast=AUTOCAST[way], schedule=schedule)
        torch.manual_seed(seed)
        facts = {"epochs": epochs, "seed": seed, "progress": False}
        fit(model, self.train, optimizer, recipe=recipe, **facts)
        return model

    def scores(self, way: str, c: dict, epochs: int, seed: int) -> dict[str, float]:
        parts = ("validation", "test")
        try:
            model = self.train_model(way, c, epochs, seed)
        except ValueError:  # the loss or a gradient became infinite
            return dict.fromkeys(parts, 0.0)
        return {p: self.score(*predict(model, getattr(self.splits, p))) for p in parts}


def make(way: str, model: nn.Module, c: dict) -> torch.optim.Optimizer:
    if way == "recipe":
        return DeepOpt(model, lr=c["lr"], first_momentum=c["beta1"])
    facts = {"lr": c["lr"], "betas": (c["beta1"], 0.95), "weight_decay": 0.1}
    facts |= {"fused": True}
    return torch.optim.AdamW(decay_groups(model), **facts)


def eight_views(part: ImageDataset) -> ImageDataset:
    """Each tile in its eight orientations."""
    images, masks = [], []
    for mirrored in (False, True):
        for turns in range(4):
            x, y = part.images, part.labels
            x, y = (x.flip(-1), y.flip(-1)) if mirrored else (x, y)
            images.append(x.rot90(turns, (-2, -1)))
            masks.append(y.rot90(turns, (-2, -1)))
    frame = part.frame.loc[part.frame.index.repeat(8)]
    return ImageDataset(torch.cat(images), torch.cat(masks), frame)


class Bench:
    """The runs of one mode."""

    def __init__(self, quick: bool, anew: bool, anywhere: bool = False):
        self.quick = quick
        self.names = ("fashion",) if quick else tuple(EPOCHS)
        self.seeds = range(1, 3 if quick else 6)
        self.runs = SCRIPT.runs(quick, anew, anywhere)

    def epochs(self, name: str) -> int:
        return 2 if self.quick else EPOCHS[name]

    def score(self, job: Job, way: str, c: dict, epochs: int, seed: int) -> dict:
        key = {"task": job.name, "way": way, "epochs": epochs, "seed": seed}
        measure = lambda: job.scores(way, c, epochs, seed)  # noqa: E731
        return self.runs.once(key | {"settings": c}, measure)

    def tuned(self, job: Job, way: str) -> dict:
        epochs = self.epochs(job.name) // (2 if way == "recipe" else 1)

        def loss(c: dict) -> float:
            return -self.score(job, way, c, epochs, 0)["validation"]

        search = tune(AXES[way], START[way], loss, 2 if self.quick else 12)
        count = len(search.trials)
        return {"best": search.best, "tried": count, "interior": search.interior}

    def tests(self, job: Job, way: str, c: dict, epochs: int) -> list[float]:
        return [self.score(job, way, c, epochs, seed)["test"] for seed in self.seeds]

    def curve(self, job: Job, c: dict, target: float) -> dict[int, list[float]]:
        """Epochs → test scores by seed, until the target lies between two."""
        scores: dict[int, list[float]] = {}
        longest, epochs = 2 * self.epochs(job.name), self.epochs(job.name) // 2
        while epochs not in scores and 1 <= epochs <= longest:
            scores[epochs] = self.tests(job, "recipe", c, epochs)
            epochs += -1 if statistics.mean(scores[epochs]) >= target else 1
        return dict(sorted(scores.items()))


def pace(job: Job) -> dict[str, list[float]]:
    """Processor seconds of an epoch, variants interleaved."""
    ways = {"adamw": ("adamw", {}), "recipe": ("recipe", {})}
    ways["float32"] = ("recipe", {"autocast": None})
    if multiplies_bfloat16():
        ways[BFLOAT16] = (BFLOAT16, {})
    seconds = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, (way, change) in ways.items():
            start = time.process_time()
            job.train_model(way, START[way], 1, turn, **change)
            seconds[name].append(time.process_time() - start)
    return {name: times[1:] for name, times in seconds.items()}


def rows_of(bench: Bench, job: Job, seconds: dict[str, list[float]]) -> list[Row]:
    """The recipe against AdamW in either data type, and the gain of the data type."""
    rows = [against(bench, job, "adamw", seconds)]
    if BFLOAT16 in seconds:
        rows.append(against(bench, job, BFLOAT16, seconds))
    else:
        note = "this processor does not multiply bfloat16"
        rows.append(claim_row(job, BFLOAT16, Estimate(None), note))
    alone = Row(
        claim="C3",
        source="ours",
        what=f"{job.name}: an epoch in float32 over one in bfloat16, time",
        unit="ratio",
        better="higher",
        measured=ratio(seconds, "float32", "recipe"),
        n=ROUNDS,
    )
    return [*rows, alone.at(end_time(seconds))]


def claim_row(job: Job, way: str, gain: Estimate, note: str) -> Row:
    """The row for the guide's 40 %."""
    return Row(
        claim="C3",
        source="guide",
        what=f"{job.name}: {TITLES[way]}'s time to its score over the recipe's",
        unit="ratio",
        better="higher",
        target=GUIDE,
        note=note,
        **vars(gain),
    )


def ratio(seconds: dict[str, list[float]], numerator: str, denominator: str) -> float:
    """Median over rounds of the ratio of epoch times within a round."""
    pairs = zip(seconds[numerator], seconds[denominator], strict=True)
    return statistics.median(a / b for a, b in pairs)


def against(bench: Bench, job: Job, way: str, seconds: dict[str, list[float]]) -> Row:
    """Time to the mean score of `way` after all its epochs, over the recipe's."""
    adamw, recipe = bench.tuned(job, way), bench.tuned(job, "recipe")
    epochs = bench.epochs(job.name)
    reference = bench.tests(job, way, adamw["best"], epochs)
    target = statistics.mean(reference)
    curve = bench.curve(job, recipe["best"], target)
    losses = {e: [-score for score in scores] for e, scores in curve.items()}
    facts = epochs, 2.0, job.name
    steps, again = race.steps_ratio([-v for v in reference], losses, *facts)
    dearer, scores = ratio(seconds, way, "recipe"), curve_in_words(curve, target)
    words = [search_in_words(f, AXES[w]) for w, f in ((way, adamw), ("recipe", recipe))]
    note = f"{TITLES[way]} {target:.4f} after {epochs} epochs (settings {words[0]}); "
    note += f"{scores[0]} (settings {words[1]}); epochs {1 / steps:.2f} times fewer, "
    note += f"AdamW's epoch takes {dearer:.2f} of the recipe's time{scores[1]}"
    gain = race.interval(1 / steps * dearer, again, len(reference))
    return claim_row(job, way, gain, note).at(end_time(seconds))


def curve_in_words(curve: dict[int, list[float]], target: float) -> tuple[str, str]:
    """The mean scores, and whether the target lies between them."""
    means = {epochs: statistics.mean(scores) for epochs, scores in curve.items()}
    words = ", ".join(f"{score:.4f} after {e}" for e, score in means.items())
    if target > max(means.values()):
        return words, "; never reached: at most"
    shortest = means[min(means)] >= target
    return words, "; reached by the shortest run: at least" if shortest else ""


def measure(run: Run) -> list[Row]:
    torch.set_num_threads(1)
    bench = Bench(run.quick, run.anew, anywhere=run.speed)
    if run.speed and not any(r.get("way") == BFLOAT16 for r in bench.runs.rows):
        raise SystemExit("no full run: run benchmarks/training_recipe.py first")
    once, rows = bench.runs.again if run.speed else bench.runs.once, []
    for job in map(Job, bench.names):
        key = {"task": job.name, "pace": ROUNDS, "with": BFLOAT16}
        rows += rows_of(bench, job, once(key, partial(pace, job)))
    return rows


if __name__ == "__main__":
    SCRIPT.main(measure)
