"""Interpolate the steps to a target loss from full runs of several lengths."""

import math
from itertools import pairwise

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed
from deepseek_learn.optim import steps_to


def check(answer, rng) -> None:
    expect.function(answer, "steps_to")
    kinds = ("between", "bumpy", "exact", "first", "level", "never", "rising", "bumpy")
    for kind in kinds:
        for trial in range(4):
            target, losses = draw(rng, kind)
            while kind == "bumpy" and not told_apart(target, losses, trial % 2):
                target, losses = draw(rng, kind)
            call = f"steps_to({target}, {losses})"
            got = expect.call(answer, target, losses)
            compare(got, target, losses, call)


def draw(rng, kind: str) -> tuple[float, dict[int, float]]:
    """Draw a target, and losses with the budgets in random order."""
    count = int(rng.integers(4, 7))
    budgets = rng.integers(20, 200) * 2 ** rng.permutation(8)[:count]
    ordered = sorted(int(b) for b in budgets)
    falls = rng.uniform(0.05, 0.3, count)
    values = dict(zip(ordered, (3 - falls.cumsum()).round(3).tolist(), strict=True))
    if kind in ("first", "level"):
        target = values[ordered[0]] + 0.02 * (kind == "first")
    elif kind == "never":
        target = values[ordered[-1]] - 0.02
    else:
        i = count - 1 if kind == "exact" else int(rng.integers(1, count - 2))
        i += kind == "rising"
        high, low = values[ordered[i - 1]], values[ordered[i]]
        target = low if kind == "exact" else low + rng.uniform(0.2, 0.8) * (high - low)
        if kind == "bumpy":  # the next run misses the target, the one after does not
            values[ordered[i + 1]] = round(target + 0.04, 3)
        if kind == "rising":  # the last miss is worse than the run before it
            values[ordered[i - 1]] = round(values[ordered[i - 2]] + 0.04, 3)
    shuffled = {int(b): values[int(b)] for b in budgets}
    return round(float(target), 4), shuffled


def told_apart(target: float, losses: dict[int, float], by_loss: int) -> bool:
    """Whether `np.interp`, which needs rising losses, gives something else here.

    By step it is called on the runs from the longest to the shortest, by loss on the
    runs sorted by their losses.
    """
    budgets = sorted(losses, reverse=True)
    if by_loss:
        budgets.sort(key=losses.__getitem__)
    values = [losses[budget] for budget in budgets]
    steps = math.exp(np.interp(target, values, np.log(budgets)))
    return not math.isclose(steps, steps_to(target, losses) or 0, rel_tol=1e-3)


def compare(got, target: float, losses: dict[int, float], call: str) -> None:
    want = steps_to(target, losses)
    if want is None:
        if got is not None:
            raise Failed("never", call=call)
        return
    if got is None:
        raise Failed("missed", call=call)
    value = float(expect.shape(got, (), call))
    if math.isclose(value, want, rel_tol=1e-6):
        return
    mistakes = guesses(target, losses)
    matches = {
        name for name, steps in mistakes if math.isclose(value, steps, rel_tol=1e-6)
    }
    if len(matches) == 1 and "best" not in matches:  # otherwise it is ambiguous
        raise Failed(matches.pop(), call=call, want=want)
    raise Failed("expect.value", what=call, got=value, want=want)


def guesses(target: float, losses: dict[int, float]):
    """Return known mistakes as (name, steps)."""
    budgets = sorted(losses)
    reached = [b for b in budgets if losses[b] <= target]
    if reached[0] == budgets[0]:
        first, second = budgets[:2]
        yield "shorter", line(target, losses, first, second, log=True)
        yield "shorter", line(target, losses, first, second, log=False)
        return
    before = budgets[budgets.index(reached[0]) - 1]
    first = next(iter(losses))
    if losses[first] <= target and first != reached[0]:
        yield "order", first
    yield "budget", reached[0]
    yield "budget", before
    best = min(budgets[: budgets.index(reached[0])], key=losses.__getitem__)
    yield "best", line(target, losses, best, reached[0], log=True)
    yield "linear", line(target, losses, before, reached[0], log=False)
    for a, b in pairwise(budgets):
        if losses[b] <= target < losses[a]:  # the last crossing
            last = line(target, losses, a, b, log=True)
    yield "last", last
    for a, b in pairwise(losses):
        if losses[b] <= target < losses[a]:
            yield "order", line(target, losses, a, b, log=True)
    yield "ends", line(target, losses, budgets[0], budgets[-1], log=True)


def line(target: float, losses, a: int, b: int, log: bool) -> float:
    """Return where the line through the runs a and b meets the target."""
    if losses[a] == losses[b]:
        return math.nan
    fraction = (losses[a] - target) / (losses[a] - losses[b])
    return a * (b / a) ** fraction if log else a + fraction * (b - a)
