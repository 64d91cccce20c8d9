"""One run of one optimizer on one task, and the budgets that are worth a run."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from .optimizer_tasks import Task
from .optimizers import Contestant, share

LOST = 99.0  # the loss of a run that diverged


def run(
    task: Task, contestant: Contestant, c: dict[str, Any], steps: int, seed: int
) -> dict[str, Any]:
    """Train anew for so many steps, and measure the loss on both held-out parts.

    Returns:
        "validation" and "test", mean losses; "step_ms" and "optimizer_ms", medians of
        processor time a step; "state_bytes", tensors of the optimizers' states.
    """
    torch.manual_seed(seed)  # dropout
    model, stream = task.model(seed), task.batches(seed)
    optimizers = contestant.build(model, c, steps)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates, whole_step, own = [group["lr"] for group in groups], [], []
    for step in range(steps):
        factor = share(c.get("schedule", "constant"), step, steps)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * factor
        batch, start = next(stream), time.process_time()
        loss = task.loss(model, batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        middle = time.process_time()
        if not math.isfinite(loss.item()):
            break
        for optimizer in optimizers:
            optimizer.step()
        end = time.process_time()
        whole_step.append(end - start)
        own.append(end - middle)
    for optimizer in optimizers:
        if hasattr(optimizer, "eval"):  # Schedule-Free: to the averaged weights
            optimizer.eval()
    found = {part: task.evaluate(model, part) for part in ("validation", "test")}
    finite = len(own) == steps and all(math.isfinite(v) for v in found.values())
    found = found if finite else dict.fromkeys(found, LOST)
    return found | {
        "step_ms": 1e3 * _median(whole_step),
        "optimizer_ms": 1e3 * _median(own),
        "state_bytes": sum(map(state_bytes, optimizers)),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors of more than one entry in an optimizer's state."""

    def walk(value) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size() if value.numel() > 1 else 0
        if isinstance(value, list | tuple):
            return sum(map(walk, value))
        return sum(map(walk, value.values())) if isinstance(value, dict) else 0

    return sum(walk(kept) for kept in optimizer.state.values())


def bracket(
    budgets: list[int], target: float, loss_at: Callable[[int], float], first: int
) -> tuple[int | None, int | None]:
    """The neighbours on the ladder between which the target is reached.

    Starts at `budgets[first]` and goes a step down while the target is reached, else up.

    Returns:
        the longest budget tried that misses and the shortest that reaches, `None` where
        even the shortest reaches, or even the longest misses.
    """
    i = first
    while True:
        if loss_at(budgets[i]) <= target:
            if i == 0:
                return None, budgets[0]
            if loss_at(budgets[i - 1]) > target:
                return budgets[i - 1], budgets[i]
            i -= 1
        else:
            if i + 1 == len(budgets):
                return budgets[i], None
            if loss_at(budgets[i + 1]) <= target:
                return budgets[i], budgets[i + 1]
            i += 1
