"""The track of attention modules: accuracy of a small network after equal time.

The plain network trains for a fixed number of steps. The network with the entry's
module trains on the same pictures for as long as that takes, in processor time that the
scorer reads from the kernel. Since a busy machine is slower a minute later, the scorer
trains a plain network of its own alongside, as a pacemaker: times are compared with
its steps in between. It sends the pictures one batch at a time. After the training it
takes the weights, starts a new process of the entry with them, and sends the test
pictures to that one, without labels.

Lesson: `notebooks/basic/02_attention_families.ipynb`.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention.families import attention
from .pictures import clutter, fashion
from .source import EntryError
from .track import (
    Contestant,
    EntryServer,
    RaceResult,
    Start,
    Track,
    derived_seed,
    registered_name,
)

WIDTHS, CLASSES = (8, 16, 32), 10
WARM_UP_STEPS, EVERY = (
    3,
    4,
)  # steps that are not timed; steps between two of the pacemaker
LEAST_PACE = 0.05  # below the clock's ticks; no time at all would permit endless steps
LEARNING_RATE, WARM_UP, BATCH, DECAY = 4e-3, 0.05, 32, 0.05
MAX_TRAINING, MAX_PREDICTING, SLACK_SECONDS = 1.1, 4.0, 0.3  # see `check_time`
MAX_WEIGHTS = 320_000  # bytes; four times those of the plain network


@dataclass(frozen=True)
class ClutterProblem:
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
class AttentionTrack(Track):
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

    def problem(self, seed: int) -> ClutterProblem:
        rng = np.random.default_rng(seed)
        classes = torch.from_numpy(rng.permutation(CLASSES))
        splits = fashion()
        train, labels = clutter(splits.train, self.images, rng)
        test, test_labels = clutter(splits.test, self.tests, rng)
        return ClutterProblem(train, classes[labels], test, classes[test_labels], seed)

    def measure(
        self,
        problem: ClutterProblem,
        start: Start,
        settings: Mapping[str, Any],
        reference: RaceResult | None,
    ) -> RaceResult:
        seed = derived_seed(problem.seed, "trunk")
        base = None if reference is None else reference.facts["pace"]
        with one_core():
            with start() as process:
                process.ask("build", seed)
                process.ask("prepare")
                facts, step, weights = self._train(problem, process, base)
            # a new process: it has seen no training picture, so it cannot train on
            with start() as process:
                process.ask("build", seed)
                process.ask("load", weights)
                begin = process.cpu_seconds()
                logits = process.ask("predict", problem.test)
                most = MAX_PREDICTING * step * self.tests / BATCH
                check_time("predicting", process.cpu_seconds() - begin, most)
        right = _checked(logits, self.tests).argmax(1) == problem.test_labels
        return RaceResult(right.double().mean().item(), facts)

    def _train(
        self, problem: ClutterProblem, process: Contestant, base: float | None
    ) -> tuple[dict[str, float], float, dict[str, Tensor]]:
        """Train for the time that the plain network takes, and check that time.

        Returns:
            the facts of the outcome; the seconds of a step of the plain network,
            whatever the entry's own steps took; and the weights.
        """
        pacemaker, begin = Pacemaker(problem), process.cpu_seconds()
        facts = self._steps(problem, process, pacemaker, base)
        weights = _checked_weights(process.ask("weights"))
        step = (base or facts["pace"]) * pacemaker.seconds
        most = MAX_TRAINING * step * self.steps
        check_time("training", process.cpu_seconds() - begin, most)
        return facts, step, weights

    def _steps(
        self,
        problem: ClutterProblem,
        process: Contestant,
        pacemaker: "Pacemaker",
        base: float | None,
    ) -> dict[str, float]:
        """Take the steps that fit into the plain network's time.

        Args:
            base: the plain network's pace, a step's time in steps of the pacemaker;
                None for the plain network itself.

        Returns:
            `steps`, `pace` and `step_seconds`.
        """
        batches = _batches(problem)
        steps, permitted, seconds, begin = 0, float(self.steps), 0.0, 0.0
        pace = base or 1.0
        while steps < permitted:
            rate = LEARNING_RATE * share(steps / permitted)
            process.ask("train", *next(batches), rate)
            steps += 1
            if steps == WARM_UP_STEPS:  # the first steps also allocate
                begin = process.cpu_seconds()
            if steps > WARM_UP_STEPS:
                if steps % EVERY == 1:
                    pacemaker.step()
                seconds = (process.cpu_seconds() - begin) / (steps - WARM_UP_STEPS)
            if steps > 2 * EVERY:
                pace = max(seconds / pacemaker.seconds, LEAST_PACE)
                permitted = self.steps * (1 if base is None else base / pace)
        return {"steps": steps, "pace": pace, "step_seconds": seconds}

    def server(self) -> EntryServer:
        return TrainingServer()


def check_time(what: str, seconds: float, most: float) -> None:
    """Refuse an entry that used more processor time than the plain network justifies.

    The limits depend on the plain network alone, since an entry can make its own steps
    as slow as it likes. Training may take 10 % more: the last step ends late, and the
    clock has ticks. Predicting may take as long as four training steps of the plain
    network would on each picture, since a module can be slow. Both may take another 0.3
    seconds, for what is allocated first.

    Raises:
        EntryError: with both numbers.
    """
    most += SLACK_SECONDS
    if seconds > most:
        raise EntryError(
            f"{what} took {seconds:.1f} s of processor time; {most:.1f} s are permitted."
        )


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those that it starts, on one core inside the block.

    Another core may be slower at the same moment, if other programs run there.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


class Pacemaker:
    """A plain network that the scorer trains for the time that its steps take."""

    def __init__(self, problem: ClutterProblem):
        self.learner = TrainingServer()
        self.learner.model = _trunk()
        self.learner.prepare()
        self.batch = problem.train[:BATCH], problem.train_labels[:BATCH]
        self.times: list[float] = []
        for _ in range(WARM_UP_STEPS):
            self.learner.train(*self.batch, 0.0)

    def step(self) -> None:
        begin = time.thread_time()
        self.learner.train(*self.batch, 0.0)
        self.times.append(time.thread_time() - begin)

    @property
    def seconds(self) -> float:
        """The mean time of a step."""
        return fmean(self.times)


class TrainingServer(EntryServer):
    """Train the network with the entry's module, and predict."""

    def __init__(self) -> None:
        self.before = {*attention}

    def take(self, module: ModuleType) -> None:
        self.module = registered_name(module, attention, self.before)

    def build(self, seed: int) -> None:
        """Build the network; the trunk has the same weights for all entries."""
        from ..attention import attach

        torch.manual_seed(seed)
        self.model = attach(_trunk(), self.module, where="residual")

    def prepare(self) -> None:
        """Make the optimizer, whose first one in a process takes a second."""
        parameters = self.model.train().parameters()
        self.optimizer = torch.optim.AdamW(
            parameters, LEARNING_RATE, weight_decay=DECAY
        )

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

    def weights(self) -> dict[str, Tensor]:
        """Return all that was learned."""
        return dict(self.model.state_dict())

    def load(self, weights: dict[str, Tensor]) -> None:
        """Continue with what another process learned."""
        self.model.load_state_dict(weights)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Return the logits, of shape `[N, classes]`."""
        self.model.eval()
        return torch.cat([self.model(x / 255) for x in images.split(100)])


def _trunk() -> nn.Module:
    from ..zoo.nets.fashion_net import SmallResNet

    return SmallResNet(CLASSES, widths=WIDTHS, pool=2)


def share(used: float) -> float:
    """Return the part of the learning rate after a part of the time is used."""
    rising = min(1.0, (used + 0.005) / WARM_UP)
    return rising * 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))


def _batches(problem: ClutterProblem) -> Any:
    generator = torch.Generator().manual_seed(problem.seed)
    while True:
        order = torch.randperm(len(problem.train), generator=generator)
        for rows in order.split(BATCH)[: len(order) // BATCH]:
            yield problem.train[rows], problem.train_labels[rows]


def _checked_weights(weights: Any) -> dict[str, Tensor]:
    """Refuse anything but a few tensors: there is no room for pictures."""
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor)
        for name, tensor in weights.items()
    ):
        raise EntryError("the entry's process did not follow the protocol.")
    size = sum(len(name) + tensor.nbytes for name, tensor in weights.items())
    if size > MAX_WEIGHTS:
        raise EntryError(
            f"its network has {size} bytes of weights; {MAX_WEIGHTS} are permitted."
        )
    return weights


def _checked(logits: Any, count: int) -> Tensor:
    """Refuse anything but finite logits."""
    if not isinstance(logits, Tensor) or list(logits.shape) != [count, CLASSES]:
        raise EntryError("the entry's process did not follow the protocol.")
    if not torch.isfinite(logits).all():
        raise EntryError("the predictions contain NaN or infinity.")
    return logits


TRACK = AttentionTrack()
