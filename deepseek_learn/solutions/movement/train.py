"""Train the zoo's `movement_reader` on HAPT and write its weights and card.

    python -m deepseek_learn.solutions.movement.train          # into zoo_runs/
    python -m deepseek_learn.solutions.movement.train --ship   # also into the package

The protocol was fixed before the run. The network learns from the people of three folds
(`data.movements`); its card says how well it reads those of fold 0. Half of the training
windows lie inside one movement, the others have at least half of it, as in a stream.
Movements are drawn in proportion to the square root of how often they occur. The windows
are turned a little about random axes, scaled and made noisier: nobody wears a sensor as the
next person does. DeepOpt, cosine schedule, label smoothing.

The settings were chosen on the five folds of `benchmarks/movements.py`; its page says how
many were compared.
"""

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...measure import bootstrap
from ...optim import DeepOpt
from ...training import Fit, predict
from ...zoo import Evaluation, storage
from ...zoo.nets.movement_net import MovementNet
from .hapt import (
    ACTIVITIES,
    CLASSES,
    WINDOW,
    Recording,
    folds,
    movements,
    recordings,
)

NAME, SPLIT, SEED = "movement_reader", "person", 0
STEPS, BATCH, LR, SMOOTHING = 4000, 128, 3e-3, 0.1
TURN, GAIN, NOISE = 8.0, 0.1, 0.01  # degrees (deviation); largest change; g and rad/s
MIXED = 0.5  # the part of the windows that may reach into the neighboring movements
JITTER = 16  # samples, for movements shorter than a window


class Draws:
    """Draws training windows of some people.

    Args:
        recorded: the recordings to choose from.
        people: whose to use.

    Raises:
        ValueError: if there are no recordings of these people.
    """

    def __init__(self, recorded: Sequence[Recording], people: Collection[int]):
        self.runs = [
            (recording.signal, label, low, high)
            for recording in recorded
            if recording.person in people
            for label, low, high in recording.runs()
        ]
        if not self.runs:
            raise ValueError(f"people must have recordings; got {sorted(people)}.")
        self.labels = np.array([label for _, label, _, _ in self.runs])
        length = np.array([max(1, high - low - 64) for _, _, low, high in self.runs])
        whole = np.bincount(self.labels, length, len(CLASSES))
        weight = length / np.sqrt(whole[self.labels])
        self.chance = weight / weight.sum()

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows `[count, 6, 128]` and their labels."""
        chosen = rng.choice(len(self.runs), count, p=self.chance)
        windows = []
        for i in chosen:
            signal, _, low, high = self.runs[i]
            start = _start(low, high, rng)
            start = min(max(0, start), signal.shape[1] - WINDOW)
            windows.append(signal[:, start : start + WINDOW])
        return torch.from_numpy(np.stack(windows)), torch.from_numpy(
            self.labels[chosen]
        )


def _start(low: int, high: int, rng: np.random.Generator) -> int:
    half, middle = WINDOW // 2, (low + high) // 2
    if rng.random() < MIXED and high - low >= half:
        if high - low >= WINDOW:
            return int(rng.integers(low - half, high - half))
        return int(rng.integers(high - WINDOW, low + 1))  # holds the whole movement
    if high - low >= WINDOW:
        return int(rng.integers(low, high - WINDOW + 1))
    return middle - half + int(rng.integers(-JITTER, JITTER + 1))


def augment(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn, scale and disturb windows `[B, 6, 128]`."""
    count = len(x)
    turned = torch.from_numpy(rotations(rng.normal(0, TURN, count), rng))
    x = torch.cat([turned @ x[:, :3], turned @ x[:, 3:]], 1)
    gain = rng.uniform(1 - GAIN, 1 + GAIN, (count, 6, 1)).astype(np.float32)
    noise = rng.normal(0, NOISE, x.shape).astype(np.float32)
    return x * torch.from_numpy(gain) + torch.from_numpy(noise)


def rotations(degrees: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rotations by some angles about random axes, `[N, 3, 3]` (Rodrigues)."""
    x, y, z = (axis := rng.normal(size=(3, len(degrees)))) / np.linalg.norm(
        axis, axis=0
    )
    zero, angle = np.zeros_like(x), np.radians(degrees)[:, None, None]
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turn.astype(np.float32)


def learn(
    model: nn.Module,
    people: Collection[int],
    *,
    steps: int = STEPS,
    lr: float = LR,
    seed: int = SEED,
    recorded: Sequence[Recording] | None = None,
) -> nn.Module:
    """Train a model on some people's recordings, and return it in evaluation mode."""
    rng = np.random.default_rng(seed)
    draws = Draws(recordings() if recorded is None else recorded, people)
    optimizer = DeepOpt(model, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(steps):
        x, label = draws.batch(BATCH, rng)
        loss = F.cross_entropy(model(augment(x, rng)), label, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def activity_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the accuracy in the six activities; transitions are left out."""
    basic = labels < ACTIVITIES
    hits = logits[basic, :ACTIVITIES].argmax(1) == labels[basic]
    return float(hits.double().mean())


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Return the mean F1 of the twelve classes; absent ones are left out."""
    return macro_f1_of(logits.argmax(1).numpy(), labels.numpy())


def macro_f1_of(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean F1 of predicted classes, over those that occur in `labels`."""
    scores = []
    for label in np.unique(labels):
        hits = ((predicted == label) & (labels == label)).sum()
        scores.append(2 * hits / ((predicted == label).sum() + (labels == label).sum()))
    return float(np.mean(scores))


def metrics(logits: Tensor, labels: Tensor, people: np.ndarray) -> dict:
    """Return the metrics of a card; intervals resample people."""

    def estimate(score: Callable[[Tensor, Tensor], float]) -> dict[str, float]:
        return bootstrap(lambda i: score(logits[i], labels[i]), people).to_dict()

    return {"accuracy": estimate(activity_accuracy), "macro_f1": estimate(macro_f1)}


def evaluation() -> Evaluation:
    """Return the windows on which the model is compressed, deployed and tested."""
    splits = movements()
    rows = np.random.default_rng(SEED).choice(len(splits.train), 512, replace=False)
    calibration = splits.train.subset(rows).batch()[0]
    return Evaluation(calibration, splits.validation, splits.test, activity_accuracy)


def measure(model: nn.Module) -> dict:
    """Return the metrics of a card: those of the people of fold 0."""
    test = movements().test
    logits, labels = predict(model, test)
    assert test.groups is not None
    return {"all": metrics(logits, labels, test.groups)}


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    model, start = MovementNet(), time.process_time()
    learn(model, [person for person, fold in folds().items() if fold > 1])
    storage.load_into(model, storage.save(NAME, model, arguments.out))
    run = Fit(pd.DataFrame(index=[1]), 1, "epochs", time.process_time() - start)
    settings = {"seed": SEED, "batch_size": BATCH, "lr": LR, "steps": STEPS}
    result = measure(model.eval())
    storage.record(NAME, arguments.out, SPLIT, result, run, settings)
    if arguments.ship:
        storage.ship(NAME, arguments.out, SPLIT, weights=True)
    print(result)


if __name__ == "__main__":
    main()
