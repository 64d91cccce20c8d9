"""One run of one optimizer on one task, and the search for useful budgets."""

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from harness.interval import Estimate, half_width
from models.optimizer_tasks import Task
from models.optimizers import Contestant, share

from deepseek_learn.optim import steps_to

LADDER = (0.2, 0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 0.95, 1.2)  # over AdamW's
RESAMPLINGS = 2000
RESAMPLED = "95 % t, resampled"
LOST = 99.0  # the loss of a run that diverged


def run(
    task: Task, contestant: Contestant, c: dict[str, Any], steps: int, seed: int
) -> dict[str, Any]:
    """Train from scratch for `steps` steps, and evaluate on both held-out parts.

    Returns:
        "validation" and "test", mean losses.
    """
    torch.manual_seed(seed)  # dropout
    model, stream = task.model(seed), task.batches(seed)
    optimizers = contestant.build(model, c, steps)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates, finished = [group["lr"] for group in groups], 0
    for step in range(steps):
        factor = share(c.get("schedule", "constant"), step, steps)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * factor
        loss = task.loss(model, next(stream))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        if not math.isfinite(loss.item()):
            break
        try:
            for optimizer in optimizers:
                optimizer.step()
        except ValueError:  # DeepOpt refuses gradients that are not finite
            break
        finished += 1
    for optimizer in optimizers:
        if hasattr(optimizer, "eval"):  # Schedule-Free: to the averaged weights
            optimizer.eval()
    losses = {part: task.evaluate(model, part) for part in ("validation", "test")}
    finite = finished == steps and all(math.isfinite(v) for v in losses.values())
    return losses if finite else dict.fromkeys(losses, LOST)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors of more than one entry in an optimizer's state."""

    def walk(value) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size() if value.numel() > 1 else 0
        if isinstance(value, list | tuple):
            return sum(map(walk, value))
        return sum(map(walk, value.values())) if isinstance(value, dict) else 0

    return sum(walk(state) for state in optimizer.state.values())


def bracket(
    budgets: list[int], target: float, loss_at: Callable[[int], float], first: int
) -> tuple[int, int]:
    """Run budgets until the target lies between two adjacent rungs of the ladder.

    Starts at `budgets[first]`; goes one rung down while the target is reached, else up.

    Returns:
        the rungs of the longest budget that misses and the shortest that reaches; -1, or
        the ladder's length, if even its end reaches, or misses.
    """
    i = first
    while True:
        if loss_at(budgets[i]) <= target:
            if i == 0 or loss_at(budgets[i - 1]) > target:
                return i - 1, i
            i -= 1
        else:
            if i + 1 == len(budgets) or loss_at(budgets[i + 1]) <= target:
                return i, i + 1
            i += 1


def steps_ratio(
    reference: list[float],
    curve: dict[int, list[float]],
    steps: int,
    most: float,
    name: str,
) -> tuple[float, np.ndarray]:
    """Steps to the reference's mean loss over its steps, also for resampled seeds.

    A bootstrap sample draws seeds with replacement, the same for both sides. If its
    crossing lies outside the budgets that were run, the line through the last two at that
    end is extrapolated, to at most twice or half of the end.

    Args:
        reference: losses by seed after `steps`.
        curve: budget → losses by the same seeds.
        most: the result if no budget reaches, as a fraction of `steps`.
        name: seeds the bootstrap; one per task, so that tasks are resampled independently.
    """

    def losses(index: np.ndarray) -> tuple[float, dict[int, float]]:
        target = float(np.take(reference, index).mean())
        return target, {b: float(np.take(v, index).mean()) for b, v in curve.items()}

    count, rng = len(reference), np.random.default_rng(zlib.crc32(name.encode()))
    target, means = losses(np.arange(count))
    point = (steps_to(target, means) or most * steps) / steps
    draws = rng.integers(count, size=(RESAMPLINGS, count))
    again = [_continued(*losses(index), most * steps) / steps for index in draws]
    return point, np.array(again)


def _continued(target: float, losses: dict[int, float], limit: float) -> float:
    budgets = sorted(losses)
    crossing = steps_to(target, losses)
    if crossing is not None and not (
        crossing == budgets[0] and losses[budgets[0]] < target
    ):
        return crossing
    end = budgets[0] if crossing is not None else budgets[-1]
    if len(budgets) == 1:
        return end if crossing is not None else limit
    a, b = budgets[:2] if crossing is not None else budgets[-2:]
    slope = (losses[b] - losses[a]) / math.log(b / a)
    far = math.log(0.5 if crossing is not None else 2.0)
    along = (target - losses[end]) / slope if slope < 0 else far
    return end * math.exp(max(min(along, math.log(2.0)), math.log(0.5)))


def error_of(again: np.ndarray, count: int) -> float:
    """Standard error of the logarithm, from bootstrap samples of `count` seeds."""
    return float(np.log(again).std() * math.sqrt(count / (count - 1)))


def difference(value: float, again: np.ndarray, count: int) -> Estimate:
    """The difference of two ratios over the same seeds, with its 95 % t interval."""
    error = float(again.std()) * math.sqrt(count / (count - 1))
    half = half_width(error, count)
    return Estimate(value, value - half, value + half, RESAMPLED, count)


def interval(point: float, again: np.ndarray, count: int) -> Estimate:
    """The 95 % t interval of a ratio; it is wide with few seeds."""
    half = half_width(error_of(again, count), count)
    low, high = point * math.exp(-half), point * math.exp(half)
    return Estimate(point, low, high, RESAMPLED, count)
