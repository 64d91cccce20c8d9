"""Do the industries' small models gain from a search? Error and latency, AutoTuner.

    python benchmarks/industries_tuning.py [--quick] [--anew] [--part MODEL ...]

Task. Each solution's own training, shortened, from its training part; the error is that on
its validation part. No test part is read.

`wind_power`: 200 steps, three turbines in 2014; 1 - skill on the fourth in 2014.
`movement_reader`: 800 steps, people of folds 2 to 4; 1 - accuracy on those of fold 1.
`review_reader`: 3,000 lines of folds 2 to 4, 3 epochs from the labels; 1 - accuracy on
1,500 lines of fold 1. `mail_reader`: mails before the first cut's border weeks, 6 epochs
from the labels, the text reader alone; 1 - AUROC on these two weeks.

Search. `AutoTuner` as it comes, 12 trials, three hyperparameters each (`SPACES`);
objectives `error` and `latency_ms` (one input, one thread). The solution's own settings are
measured in the same way before. A row says how much less the error is with the best
configuration whose latency is at most that of the own settings times 1.1 (the latency is
noisy), and the best of all. One seed; the validation part chose, so the gain flatters. No
target.

`--quick`: two trials of a few steps, the first two models.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from harness.interval import Estimate
from harness.script import Run, Script

from deepseek_learn.data import movements
from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions import student
from deepseek_learn.solutions.mail import train as mail
from deepseek_learn.solutions.mail.corpus import CUTS, mail_lines, periods
from deepseek_learn.solutions.movement import train as movement
from deepseek_learn.solutions.movement.hapt import folds
from deepseek_learn.solutions.reviews import train as reviews
from deepseek_learn.solutions.reviews.corpus import review_lines
from deepseek_learn.solutions.wind import power
from deepseek_learn.solutions.wind import train as wind
from deepseek_learn.training import predict
from deepseek_learn.tuner import AutoTuner, latency
from deepseek_learn.zoo.metrics import auroc
from deepseek_learn.zoo.nets.movement_net import MovementNet
from deepseek_learn.zoo.nets.power_net import PowerNet

SCRIPT = Script(
    __file__,
    __doc__,
    quick="two trials of two models",
    anew=True,
    parts=("wind_power", "movement_reader", "review_reader", "mail_reader"),
    of_the_machine=False,
)
TRIALS, ALLOWED, LINES = 12, 1.1, (3000, 1500)
SPACES: dict[str, dict[str, Any]] = {
    "wind_power": {
        "lr": (5e-4, 2e-2, "log"),
        "channels": [16, 24, 32, 48],
        "attention": [False, True],
    },
    "movement_reader": {
        "lr": (5e-4, 2e-2, "log"),
        "width": [64, 96, 128, 192],
        "dropout": (0.0, 0.5),
    },
    "review_reader": {
        "lr": (1e-4, 1.5e-3, "log"),
        "hidden": [256, 512, 768],
        "rank": [64, 128, 192],
    },
    "mail_reader": {
        "lr": (1e-4, 1.5e-3, "log"),
        "hidden": [256, 512, 768],
        "rank": [64, 128, 192],
    },
}
OWN: dict[str, dict[str, Any]] = {
    "wind_power": {"lr": power.LR, "channels": 32, "attention": True},
    "movement_reader": {"lr": movement.LR, "width": 128, "dropout": 0.3},
    "review_reader": {"lr": student.LR, "hidden": 512, "rank": 128},
    "mail_reader": {"lr": student.LR, "hidden": 512, "rank": 128},
}
Config = Mapping[str, Any]
Result = dict[str, float]


def wind_power(config: Config, quick: bool) -> Result:
    farm = wind.farm_samples()
    unseen = [i for i in range(len(farm.y)) if i not in farm.others]
    torch.manual_seed(0)
    model = PowerNet(channels=config["channels"], attention=bool(config["attention"]))
    near = (farm.near & farm.early)[farm.others]
    x, y, steps = farm.x[farm.others], farm.y[farm.others], 3 if quick else 200
    power.learn(model, x, y, near, steps, 0, lr=config["lr"])
    validation = farm.windows(unseen, farm.early)
    error = 1 - wind.skill(*predict(model.eval(), validation))
    return {"error": error, "latency_ms": one(model, validation.batch(slice(0, 1))[0])}


def movement_reader(config: Config, quick: bool) -> Result:
    torch.manual_seed(0)
    model = MovementNet(width=config["width"], dropout=config["dropout"])
    people = [person for person, fold in folds().items() if fold > 1]
    movement.learn(model, people, steps=3 if quick else 800, lr=config["lr"])
    validation = movements().validation
    error = 1 - movement.activity_accuracy(*predict(model, validation))
    return {"error": error, "latency_ms": one(model, validation.batch(slice(0, 1))[0])}


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts to learn from and to validate with, and their labels."""

    texts: list[str]
    labels: np.ndarray
    validation: list[str]
    truth: np.ndarray

    def reader(self, config: Config, change: student.Change, epochs: int):
        """A reader that has learned from the labels, and its tokenizer."""
        torch.manual_seed(0)
        tokenizer = student.small_tokenizer(self.texts, 2)
        sizes = {"hidden": config["hidden"], "rank": config["rank"]}
        model = student.begin(tokenizer, self.texts, **sizes)
        student.learn(
            model,
            tokenizer,
            self.texts,
            self.labels,
            None,
            change=change,
            epochs=epochs,
            lr=config["lr"],
        )
        return model, tokenizer

    def judged(self, model, tokenizer) -> tuple[torch.Tensor, float]:
        """The logits of the validation part, and the latency of a text of 160 tokens."""
        logits, _ = student.answers(model, tokenizer, self.validation)
        return logits, one(model, torch.full((1, 160), 5))


@cache
def review_texts(quick: bool) -> Texts:
    lines = review_lines()
    parts = lines[lines["fold"] > 1], lines[lines["fold"] == 1]
    first, second = (
        part.sample(count // 30 if quick else count, random_state=0)
        for part, count in zip(parts, LINES, strict=True)
    )
    return _texts(first, second)


@cache
def mail_texts(quick: bool) -> Texts:
    frame = mail_lines()
    part = periods(frame["time"], CUTS[0])
    return _texts(frame[part == "train"], frame[part == "validation"])


def _texts(first, second) -> Texts:
    return Texts(
        first["text"].tolist(),
        first["label"].to_numpy(),
        second["text"].tolist(),
        second["label"].to_numpy(),
    )


def review_reader(config: Config, quick: bool) -> Result:
    own = review_texts(quick)
    model = own.reader(config, reviews.Disturbed(own.texts), 1 if quick else 3)
    logits, ms = own.judged(*model)
    error = float((logits.argmax(1).numpy() != own.truth).mean())
    return {"error": error, "latency_ms": ms}


def mail_reader(config: Config, quick: bool) -> Result:
    own = mail_texts(quick)
    logits, ms = own.judged(*own.reader(config, mail.disturb, 1 if quick else 6))
    return {"error": 1 - auroc(logits, torch.tensor(own.truth)), "latency_ms": ms}


CASES: dict[str, Callable[[Config, bool], Result]] = {
    "wind_power": wind_power,
    "movement_reader": movement_reader,
    "review_reader": review_reader,
    "mail_reader": mail_reader,
}


def one(model: torch.nn.Module, x: torch.Tensor) -> float:
    """The latency of one input in ms, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    value = latency(model.eval(), x).ms.value
    torch.set_num_threads(threads)
    return float(value)


def search(name: str, quick: bool) -> dict:
    """The own settings' result, and those of all trials."""
    torch.set_num_threads(2)
    case = partial(CASES[name], quick=quick)
    own = case(OWN[name])
    trials: list[dict] = []

    def objective(trial) -> Result:
        config = dict(trial)
        result = case(config)
        trials.append({"config": config} | result)
        return result

    tuner = AutoTuner(objective, SPACES[name], ("error", "latency_ms"))
    tuner.run(trials=2 if quick else TRIALS, progress=False)
    return {"own": own, "trials": trials}


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs(anywhere=True)
    names = [name for name in CASES if name in run.parts]
    for name in names[:2] if run.quick else names:
        result = runs.once({"of": name}, partial(search, name, run.quick))
        own, trials = result["own"], result["trials"]
        limit = ALLOWED * own["latency_ms"]
        kinds = {
            "as fast": [each for each in trials if each["latency_ms"] <= limit],
            "of any speed": trials,
        }
        for kind, each in kinds.items():
            if not each:
                continue
            best = min(each, key=lambda trial: trial["error"])
            gain = 100 * (own["error"] - best["error"])
            config = ", ".join(f"{k} {v:.3g}" for k, v in best["config"].items())
            yield Row(
                claim="C15",
                source="ours",
                what=f"{name}: error less than with its own settings, best {kind}",
                unit="points",
                better="higher",
                note=f"{config}; {best['latency_ms']:.3g} ms against "
                f"{own['latency_ms']:.3g}; own error {100 * own['error']:.3g} %",
                **vars(Estimate(gain, n=len(trials))),
            )


if __name__ == "__main__":
    SCRIPT.main(measure)
