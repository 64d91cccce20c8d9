"""The track of update rules: steps to the loss of a tuned AdamW.

The scorer holds the model, the data and the loss. It sends the gradients of each step
to the entry's process, which sends back the weights. So an update rule knows what an
update rule may know, and cannot take a step more.

AdamW trains for T steps. An entry is run with several budgets of steps, each a run of
its own with its own schedule and in a new process, until AdamW's loss lies between two
of them (`optim.steps_to`). The score is the geometric mean of steps over T.

Lesson: `notebooks/innovation/04_beat_deepopt.ipynb`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..optim.protocol import steps_to
from .source import EntryError
from .track import EntryServer, RaceResult, Start, Track, function_of

LADDER = (0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.2)  # budgets over T
FIRST = 2  # where a search on the ladder begins
NOT_REACHED = 1.4  # the score of a rule that needs more than the whole ladder
WARM_UP = 10  # steps of the default schedule
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TrainingTask:
    """A model, its batches and its loss.

    Attributes:
        steps: T, the steps of AdamW.
        build: makes the model.
        batches: endless training batches from a generator.
        held_out: batches of a part, "validation" or "test", from a generator.
    """

    name: str
    steps: int
    build: Callable[[], nn.Module]
    batches: Callable[[torch.Generator], Iterator[Batch]]
    held_out: Callable[[str, torch.Generator], list[Batch]]


def poems_model() -> nn.Module:
    from ..lm import Decoder

    return Decoder(dim=32, layers=2, heads=2, context=48)


def poems_windows(part: str, count: int, generator: torch.Generator) -> Batch:
    from .. import data

    text = getattr(_poems(), part)
    windows = data.windows(text, 48, count, generator)
    return windows[:, :-1], windows[:, 1:]


@cache
def _poems() -> Any:
    from .. import data

    return data.tang_poems()


def poems_batches(generator: torch.Generator) -> Iterator[Batch]:
    while True:
        yield poems_windows("train", 16, generator)


def pictures_model() -> nn.Module:
    from ..zoo.nets.fashion_net import SmallResNet

    return SmallResNet(widths=(8, 16, 32), pool=2)


@cache
def _pictures() -> Any:
    from .. import data

    return data.fashion_mnist()


def pictures_batches(generator: torch.Generator) -> Iterator[Batch]:
    train = _pictures().train
    while True:
        for rows in torch.randperm(len(train), generator=generator).split(64)[:-1]:
            yield train.batch(rows)


def pictures_held_out(part: str, generator: torch.Generator) -> list[Batch]:
    dataset = getattr(_pictures(), part)
    rows = torch.randperm(len(dataset), generator=generator)[:1500]
    return [dataset.batch(batch) for batch in rows.split(500)]


def poems_held_out(part: str, generator: torch.Generator) -> list[Batch]:
    return [poems_windows(part, 128, generator) for _ in range(3)]


TASKS = {
    "poems": TrainingTask(
        "poems",
        120,
        poems_model,
        poems_batches,
        poems_held_out,
    ),
    "pictures": TrainingTask(
        "pictures", 100, pictures_model, pictures_batches, pictures_held_out
    ),
}


@dataclass(frozen=True)
class UpdateRulesTrack(Track):
    """Optimizers of PyTorch.

    Args:
        steps: T of each task.
    """

    steps: Mapping[str, int] = field(
        default_factory=lambda: {name: task.steps for name, task in TASKS.items()}
    )
    seconds: float = 120

    name = "update_rules"
    reference = "adamw"
    better = "lower"
    slack = 0.03

    def problem(self, seed: int) -> int:
        return seed

    def measure(
        self,
        problem: int,
        start: Start,
        settings: Mapping[str, Any],
        reference: RaceResult | None,
    ) -> RaceResult:
        if reference is None:
            losses = self.losses(problem, start, settings, self.steps)
            if bad := [name for name, loss in losses.items() if math.isinf(loss)]:
                raise EntryError(f"the reference diverged on {', '.join(bad)}.")
            return RaceResult(1.0, {"losses": losses})
        targets = reference.facts["losses"]
        curves: dict[str, dict[int, float]] = {name: {} for name in self.steps}
        # a round runs one budget of each task that is still open, in a new process
        while budgets := self._next_budgets(curves, targets):
            for name, loss in self.losses(problem, start, settings, budgets).items():
                curves[name][budgets[name]] = loss
        ratios = {
            name: (steps_to(targets[name], curve) or NOT_REACHED * steps) / steps
            for (name, steps), curve in zip(
                self.steps.items(), curves.values(), strict=True
            )
        }
        logs = [math.log(ratio) for ratio in ratios.values()]
        return RaceResult(math.exp(sum(logs) / len(logs)), {"ratios": ratios})

    def _next_budgets(
        self, curves: Mapping[str, Mapping[int, float]], targets: Mapping[str, float]
    ) -> dict[str, int]:
        """Return the next budget of each task whose target is not yet enclosed."""
        budgets = {}
        for name, steps in self.steps.items():
            ladder = [round(part * steps) for part in LADDER]
            budget = next_budget(ladder, curves[name], targets[name])
            if budget is not None:
                budgets[name] = budget
        return budgets

    def losses(
        self,
        seed: int,
        start: Start,
        settings: Mapping[str, Any],
        budgets: Mapping[str, int],
    ) -> dict[str, float]:
        """Train each task for its budget in one process, and return the test losses."""
        with start() as process:
            return {
                name: train(TASKS[name], steps, seed, settings.get(name, {}), process)
                for name, steps in budgets.items()
            }

    def server(self) -> EntryServer:
        return UpdateServer()


class UpdateServer(EntryServer):
    """Apply the entry's update rule to a model that holds only weights."""

    def take(self, module: ModuleType) -> None:
        self.make = function_of(module, "optimizer")
        self.share = getattr(module, "schedule", linear)

    def open(
        self, task: str, steps: int, settings: Mapping[str, Any], weights: dict
    ) -> None:
        """Make the optimizer of a run."""
        self.model = TASKS[task].build().train()
        self.weights = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, parameter in self.weights.items():
                parameter.copy_(weights[name])
        self.optimizer = self.make(self.model, steps, **settings)
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise EntryError(
                f"optimizer() must return a torch.optim.Optimizer; got a "
                f"{type(self.optimizer).__name__}."
            )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.count, self.steps = 0, steps

    def step(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take one step, and return the weights."""
        factor = self.share(self.count, self.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        for name, parameter in self.weights.items():
            parameter.grad = gradients[name]
        self.optimizer.step()
        self.count += 1
        return self._current()

    def finish(self) -> dict[str, Tensor]:
        """Return the weights to evaluate, which may be averages."""
        if hasattr(self.optimizer, "eval"):  # Schedule-Free
            self.optimizer.eval()
        return self._current()

    def _current(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.weights.items()}


def linear(step: int, steps: int) -> float:
    """Return the default schedule: a short warm-up, then linear to 0."""
    return min((step + 1) / WARM_UP, 1.0) * (1 - step / steps)


def train(
    task: TrainingTask,
    steps: int,
    seed: int,
    settings: Mapping[str, Any],
    process: Any,
    part: str = "test",
) -> float:
    """Train with the update rule of `process`, and return the loss on a part.

    It is infinite if the run diverges.

    Raises:
        EntryError: if the process fails, or returns something other than the weights.
    """
    torch.manual_seed(seed % 2**31)
    model = task.build().train()
    weights = dict(model.named_parameters())
    batches = task.batches(torch.Generator().manual_seed(seed))
    current = {name: p.detach() for name, p in weights.items()}
    process.ask("open", task.name, steps, dict(settings), current)
    for _ in range(steps):
        x, y = next(batches)
        loss = _loss(model, x, y)
        if not torch.isfinite(loss):
            return math.inf
        gradients = torch.autograd.grad(loss, [*weights.values()])
        named = dict(zip(weights, gradients, strict=True))
        _copy(process.ask("step", named), weights)
    _copy(process.ask("finish"), weights)
    loss_after = evaluate(task, model, seed, part)
    return loss_after if math.isfinite(loss_after) else math.inf


def _copy(answer: Any, weights: dict[str, nn.Parameter]) -> None:
    if not isinstance(answer, dict) or set(answer) != set(weights):
        raise EntryError("the entry's process did not follow the protocol.")
    with torch.no_grad():
        for name, parameter in weights.items():
            tensor = answer[name]
            if not isinstance(tensor, Tensor) or tensor.shape != parameter.shape:
                raise EntryError("the update rule changed the shape of a weight.")
            if not torch.isfinite(tensor).all():
                raise EntryError(f"the weights of {name} became NaN or infinite.")
            parameter.copy_(tensor)


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    scores = model(x)
    return F.cross_entropy(scores.flatten(0, -2), y.flatten())


@torch.no_grad()
def evaluate(task: TrainingTask, model: nn.Module, seed: int, part: str) -> float:
    """Return the mean loss on a part.

    The statistics of batch norms are taken anew from training batches first: after a
    short run they lag behind the weights.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
    if norms:
        batches = task.batches(torch.Generator().manual_seed(seed + 1))
        for _ in range(8):
            model(next(batches)[0])
    model.eval()
    batches_out = task.held_out(part, torch.Generator().manual_seed(seed + 2))
    losses = [_loss(model, x, y).item() for x, y in batches_out]
    return sum(losses) / len(losses)


def next_budget(
    ladder: list[int], losses: Mapping[int, float], target: float
) -> int | None:
    """Return the budget to run next, or None if the target lies between two of them."""
    i = FIRST
    while True:
        if ladder[i] not in losses:
            return ladder[i]
        if losses[ladder[i]] <= target:
            if i == 0 or losses.get(ladder[i - 1], -math.inf) > target:
                return None
            i -= 1
        else:
            if i + 1 == len(ladder) or losses.get(ladder[i + 1], math.inf) <= target:
                return None
            i += 1


TRACK = UpdateRulesTrack()
