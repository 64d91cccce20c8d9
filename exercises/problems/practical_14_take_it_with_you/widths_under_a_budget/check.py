"""Choose one width per layer so that the damage is smallest at a number of bytes."""

import itertools

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

WIDTHS = (4, 5, 8)


def check(answer, rng) -> None:
    expect.function(answer, "widths")
    for trial in range(14):
        layers = int(rng.integers(2, 8)) if trial else 1
        sizes = (32 * rng.integers(1, 40, layers)).tolist()
        damage = damages(rng, layers)
        spare = float(rng.uniform(0, 4.2))
        if trial == 3:
            spare = 0.0
        if trial == 4:
            spare = 4.0  # all layers may have 8 bits
        budget = int(sum(sizes) * (4.5 + spare)) // 8  # bytes, scales included
        budget = max(budget, sum(cost(size, 4) for size in sizes))
        if trial in (5, 6, 7):
            sizes, damage, budget = trap(rng)
        call = f"widths({sizes}, damage, {budget})"
        got = expect.call(answer, sizes, damage, budget)
        compare(got, sizes, damage, budget, call)


def damages(rng, layers: int) -> list[dict[int, float]]:
    """The damage of each layer at each width, which falls as the width grows."""
    at_8 = rng.uniform(0.0, 0.05, layers)
    at_5 = at_8 + rng.uniform(0.01, 1.0, layers) * rng.choice([0.1, 1, 4], layers)
    at_4 = at_5 + rng.uniform(0.01, 1.0, layers) * rng.choice([0.1, 1, 4], layers)
    table = zip(at_4.tolist(), at_5.tolist(), at_8.tolist(), strict=True)
    return [dict(zip(WIDTHS, row, strict=True)) for row in table]


def trap(rng) -> tuple[list[int], list[dict[int, float]], int]:
    """A small layer that gains the most per byte, and leaves no room for a larger one."""
    small, harm = int(rng.integers(8, 20)), float(rng.uniform(0.5, 2))
    large = int(1.3 * small)
    sizes = [32 * small, 32 * large]
    damage = [
        {4: 1.0 * harm, 5: 0.1 * harm, 8: 0.05 * harm},
        {4: 1.2 * harm, 5: 0.2 * harm, 8: 0.1 * harm},
    ]
    return sizes, damage, cost(sizes[0], 4) + cost(sizes[1], 5)


def cost(size: int, bits: int) -> int:
    """Bytes of a layer in blocks of 32 weights, with a float16 scale each."""
    return size // 32 * (2 + 4 * bits)


def compare(got, sizes, damage, budget: int, call: str) -> None:
    if not isinstance(got, list | tuple) or len(got) != len(sizes):
        raise Failed("shape", call=call, count=len(sizes))
    for value in got:
        if value not in WIDTHS:
            raise Failed("width", call=call, got=value)
    spent = sum(map(cost, sizes, got))
    if spent > budget:
        weights = sum(size * bits for size, bits in zip(sizes, got, strict=True)) // 8
        key = "scales" if weights <= budget else "over"
        raise Failed(key, call=call, got=spent, want=budget)
    best, choice = least(sizes, damage, budget)
    own = sum(row[bits] for row, bits in zip(damage, got, strict=True))
    if own > best * (1 + 1e-9) + 1e-12:
        raise Failed("damage", call=call, got=own, want=best, choice=list(choice))


def least(sizes, damage, budget: int) -> tuple[float, tuple[int, ...]]:
    """The smallest damage within the budget, and the widths that have it."""
    every = np.array([*itertools.product(range(3), repeat=len(sizes))])  # [3 ** n, n]
    rows = np.arange(len(sizes))
    bytes_ = np.array([[cost(size, bits) for bits in WIDTHS] for size in sizes])
    harm = np.array([[row[bits] for bits in WIDTHS] for row in damage])
    total = np.where(
        bytes_[rows, every].sum(1) <= budget, harm[rows, every].sum(1), np.inf
    )
    best = int(total.argmin())
    return float(total[best]), tuple(WIDTHS[i] for i in every[best])
