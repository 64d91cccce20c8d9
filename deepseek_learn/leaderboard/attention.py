"""The track of attention modules: accuracy of a small network after equal time.

The plain network trains for a fixed number of steps. The network with the entry's
module trains on the same pictures for as long as that took, in processor time that the
scorer reads from the kernel. It sends the pictures one batch at a time, the test
pictures without labels after the training, and the learning rate follows a cosine of
the time that is used up.

Lesson: `notebooks/basic/02_attention_families.ipynb`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention.families import attention
from .entry import EntryError
from .track import Outcome, Serving, Start, Track, derived_seed, registered_name

if TYPE_CHECKING:
    from .process import Process

CANVAS, PICTURE, FRAGMENT, FRAGMENTS = 40, 28, 12, 4
WIDTHS, CLASSES = (8, 16, 32), 10
RATE, WARM_UP, BATCH, DECAY = 4e-3, 0.05, 32, 0.05
# A forward pass takes about a third of a training step. Whoever needs more than this
# part of a step for as many test pictures may be training on.
MOST_PREDICTING, SLACK_SECONDS = 0.6, 0.3


@dataclass(frozen=True)
class Problem:
    """Pictures on cluttered canvases; the classes are numbered anew in each problem.

    Attributes:
        train, test: uint8 images of shape `[N, 1, 40, 40]`.
        train_labels, test_labels: int64, of shape `[N]`.
        seed: of the problem, which the entry must not know.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    seed: int


@dataclass(frozen=True)
class Attention(Track):
    """Attention modules inside a small residual network.

    Args:
        steps: how many steps the plain network trains.
        images, tests: how many training and test pictures a problem has.
    """

    steps: int = 150
    images: int = 2000
    tests: int = 1000

    name = "attention"
    reference = "none"
    better = "higher"
    is_share = True

    def problem(self, seed: int) -> Problem:
        rng = np.random.default_rng(seed)
        classes = torch.from_numpy(rng.permutation(CLASSES))
        splits = fashion()
        train, labels = clutter(splits.train, self.images, rng)
        test, test_labels = clutter(splits.test, self.tests, rng)
        return Problem(train, classes[labels], test, classes[test_labels], seed)

    def measure(
        self,
        problem: Problem,
        start: Start,
        settings: Mapping[str, Any],
        reference: Outcome | None,
    ) -> Outcome:
        budget = None if reference is None else reference.facts["cpu_seconds"]
        with start() as process:
            process.ask("build", derived_seed(problem.seed, "trunk"))
            spent, steps = self._train(problem, process, budget)
            a_picture = spent / (steps * BATCH)
            before = process.cpu_seconds()
            logits = process.ask("predict", problem.test)
            most = MOST_PREDICTING * a_picture * self.tests + SLACK_SECONDS
            if process.cpu_seconds() - before > most:
                raise EntryError(
                    f"predicting took more than {most:.1f} s of processor time, which "
                    f"is longer than a forward pass of what was trained may take."
                )
        right = _checked(logits, self.tests).argmax(1) == problem.test_labels
        facts = {"cpu_seconds": spent, "steps": steps}
        return Outcome(right.double().mean().item(), facts)

    def _train(
        self, problem: Problem, process: "Process", budget: float | None
    ) -> tuple[float, int]:
        """Train for the budget, or for `steps`; return the seconds and the steps."""
        batches = _batches(problem)
        begin, spent, steps = process.cpu_seconds(), 0.0, 0
        while (steps < self.steps) if budget is None else (spent < budget):
            used = steps / self.steps if budget is None else spent / budget
            process.ask("train", *next(batches), RATE * share(used))
            spent, steps = process.cpu_seconds() - begin, steps + 1
        return spent, steps

    def serving(self) -> Serving:
        return Learner()


class Learner(Serving):
    """Train the network with the entry's module, and predict."""

    def __init__(self) -> None:
        self.before = {*attention}

    def take(self, module: ModuleType) -> None:
        self.module = registered_name(module, attention, self.before)

    def build(self, seed: int) -> None:
        """Build the network; the trunk has the same weights for all entries."""
        from ..attention import attach
        from ..zoo.nets.fashion_net import SmallResNet

        torch.manual_seed(seed)
        trunk = SmallResNet(CLASSES, widths=WIDTHS, pool=2)
        self.model = attach(trunk, self.module, where="residual").train()
        parameters = self.model.parameters()
        self.optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)

    def train(self, images: Tensor, labels: Tensor, rate: float) -> None:
        """Take one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = F.cross_entropy(self.model(images / 255), labels)
        if not torch.isfinite(loss):
            raise EntryError("the training loss is NaN or infinite.")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Return the logits, of shape `[N, classes]`."""
        self.model.eval()
        return torch.cat([self.model(x / 255) for x in images.split(100)])


def share(used: float) -> float:
    """Return the part of the learning rate after a part of the time is used."""
    rising = min(1.0, (used + 0.005) / WARM_UP)
    return rising * 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))


@cache
def fashion() -> Any:
    """Return Fashion-MNIST."""
    from .. import data

    return data.fashion_mnist()


def clutter(source: Any, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Put each picture at a random place of a canvas, among fragments of others."""
    order = rng.permutation(len(source))[:count]
    pictures = source.images[:, 0].numpy()
    canvas = np.zeros((count, CANVAS, CANVAS), np.uint8)
    for k, index in enumerate(order):
        for _ in range(FRAGMENTS):
            r, c = rng.integers(0, PICTURE - FRAGMENT, 2)
            y, x = rng.integers(0, CANVAS - FRAGMENT, 2)
            other = pictures[rng.integers(len(pictures))]
            piece = other[r : r + FRAGMENT, c : c + FRAGMENT]
            canvas[k, y : y + FRAGMENT, x : x + FRAGMENT] = piece
        y, x = rng.integers(0, CANVAS - PICTURE, 2)
        canvas[k, y : y + PICTURE, x : x + PICTURE] = pictures[index]
    return torch.from_numpy(canvas)[:, None], source.labels[order]


def _batches(problem: Problem) -> Any:
    generator = torch.Generator().manual_seed(problem.seed)
    while True:
        order = torch.randperm(len(problem.train), generator=generator)
        for rows in order.split(BATCH)[: len(order) // BATCH]:
            yield problem.train[rows], problem.train_labels[rows]


def _checked(logits: Any, count: int) -> Tensor:
    """Refuse anything but finite logits."""
    if not isinstance(logits, Tensor) or list(logits.shape) != [count, CLASSES]:
        raise EntryError("the entry's process did not follow the protocol.")
    if not torch.isfinite(logits).all():
        raise EntryError("the predictions contain NaN or infinity.")
    return logits


TRACK = Attention()
