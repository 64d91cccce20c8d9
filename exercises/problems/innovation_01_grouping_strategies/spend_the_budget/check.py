"""Allocate greedily: the next bits go where they remove the most damage per bit."""

import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

LEVELS = ((2, 3, 4, 5, 6, 8), (2, 4, 8), (2, 3, 4, 6, 8), (3, 4, 8))


# Damage of each block at 2, 4 and 8 bits, and total bits: where three shortcuts fail.
TRAPS = (
    (((100, 60, 20), (30, 4, 1), (30, 4, 1)), 12),  # a step of 4 bits removes the most
    (((100, 95, 90), (50, 10, 5)), 6),  # the worst block has the least to gain
    (((900, 600, 20), (30, 4, 1)), 8),  # the best step does not fit, a smaller one does
)


# Total bits of 11 blocks for which total / 11 * 11 is slightly less than the total.
SHORT = (49, 60)


def check(answer, rng) -> None:
    expect.function(answer, "spend_the_budget")
    for blocks, total in TRAPS:
        damage = torch.tensor(rng.permutation(blocks)).double().T
        compare(answer, damage * rng.lognormal(0, 1), (2, 4, 8), total)
    for trial in range(24):
        levels = LEVELS[trial % len(LEVELS)]
        count = int(rng.integers(4, 12))
        # whole bits, so that at the end only a small step may fit
        total = int(rng.integers(levels[0] * count + 1, levels[-1] * count))
        if trial < 2:  # no bits to spend; more bits than can be spent
            total = (levels[0] * count, levels[-1] * count + 1)[trial]
        compare(answer, draw(rng, levels, count), levels, total)
    for total in SHORT:
        compare(answer, draw(rng, LEVELS[0], 11), LEVELS[0], total)
    for _ in range(2):
        count = int(rng.integers(4, 12))
        total = int(rng.integers(3 * count, 5 * count)) + rng.uniform(0.55, 0.95)
        compare(answer, draw(rng, LEVELS[0], count), LEVELS[0], round(total, 2))


def draw(rng, levels: tuple[int, ...], blocks: int) -> torch.Tensor:
    """Draw damage `[levels, blocks]`, convex: each bit divides it by 1.5 to 8."""
    importance = torch.from_numpy(rng.lognormal(0, 2, size=blocks))
    rate = torch.from_numpy(rng.uniform(1.5, 8, size=blocks))
    bits = torch.tensor(levels, dtype=torch.float64)[:, None]
    return importance * rate**-bits


def compare(answer, damage, levels: tuple[int, ...], total: float) -> None:
    blocks = damage.shape[1]
    got = expect.call(answer, damage, levels, total / blocks)
    values = expect.shape(got, (blocks,), "spend_the_budget(...)")
    for value in values:
        if value not in levels:
            raise Failed("levels", got=float(value), levels=levels)
    sums = {"spent": int(values.sum()), "total": f"{total:g}"}
    if values.sum() > total:
        raise Failed("too_much", **sums)
    best = reference(damage, levels, total)
    remaining, want = (
        remaining_damage(damage, levels, bits) for bits in (values.tolist(), best)
    )
    if remaining > want * (1 + 1e-9):
        raise Failed("damage", got=remaining, want=want, **sums)


def remaining_damage(damage, levels: tuple[int, ...], bits: list) -> float:
    return sum(
        damage[levels.index(int(b)), block].item() for block, b in enumerate(bits)
    )


def reference(damage, levels: tuple[int, ...], total: float) -> list[int]:
    """Sort all steps once: since damage is convex, each block's steps stay in order."""
    steps = sorted(
        (-(low - high) / (up - b), block, b, up)
        for block, column in enumerate(damage.T.tolist())
        for low, high, b, up in zip(
            column, column[1:], levels, levels[1:], strict=False
        )
    )
    bits = [levels[0]] * damage.shape[1]
    budget = total - sum(bits)
    for _, block, b, up in steps:
        if bits[block] == b and up - b <= budget:
            bits[block], budget = up, budget - (up - b)
    return bits
