"""Distribute a bit budget over blocks of rows by solving a knapsack problem greedily.

Rows are sorted by damage and split into blocks of 16. All blocks start with the fewest
bits. The algorithm then repeatedly takes the step that removes the most damage per
byte, until the budget is spent. The steps follow the lower convex hull of each block,
so the greedy solution is optimal up to the last step. If giving all blocks the same
number of bits does less damage, that allocation is used instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from torch import Tensor

from .codes import BITS
from .matrix import ROWS


@dataclass(frozen=True)
class RowBlock:
    """Rows from one layer that all get the same bit width: up to 16, or all of them."""

    layer: str
    rows: Tensor
    damage: Tensor  # [levels]
    weights: int  # stored weights, including padding


def blocks_of(
    name: str, damage: Tensor, columns: int, group_size: int, whole: bool = False
) -> list[RowBlock]:
    """Split the rows of a layer into blocks, sorted by damage.

    Args:
        damage: the damage to each row at each level, of shape `[levels, N]`.
        columns: the number of columns K of the weight matrix.
        whole: whether the layer is one block.
    """
    # Neighbors in this order are similarly sensitive, so one bit width fits a block.
    order = damage[0].argsort(descending=True, stable=True)  # [N], worst first
    padded = ceil(columns / group_size) * group_size
    return [
        RowBlock(
            name, rows, damage[:, rows].sum(1), ceil(len(rows) / ROWS) * ROWS * padded
        )
        for rows in order.split(len(order) if whole else ROWS)
    ]


def fill(blocks: list[RowBlock], levels: tuple[int, ...], bits: float) -> list[int]:
    """Choose a level for each block without exceeding the budget.

    The budget is `bits` per stored weight. Returns one index into `levels` per block.
    """
    # 1. Sort the steps of all blocks by the damage that they remove per stored bit.
    steps = [(*step, i) for i, b in enumerate(blocks) for step in _hull(b, levels)]
    steps.sort(key=lambda step: -step[0])
    # 2. Take steps while the budget lasts. The steps of a block are in order because
    # its hull is convex. If a step does not fit, a later and smaller one still may.
    choice = [0] * len(blocks)
    stored = sum(block.weights for block in blocks)
    budget = (bits - levels[0]) * stored + 1e-6
    for _, level, i in steps:
        cost = (levels[level] - levels[choice[i]]) * blocks[i].weights
        if cost <= budget:
            choice[i], budget = level, budget - cost
    # 3. Compare with a uniform allocation, which does less damage if the greedy choice
    # leaves too much of the budget unspent.
    constant = [max(i for i, b in enumerate(levels) if b <= bits)] * len(blocks)
    return min(choice, constant, key=lambda levels: _damage(blocks, levels))


def _damage(blocks: list[RowBlock], choice: list[int]) -> float:
    return sum(b.damage[level].item() for b, level in zip(blocks, choice, strict=True))


def _hull(block: RowBlock, levels: tuple[int, ...]) -> Iterator[tuple[float, int]]:
    """Yield the steps along the lower convex hull of a block.

    Each step consists of the damage removed per stored bit and the new level.
    """
    damage, level = block.damage.tolist(), 0
    while level + 1 < len(levels):
        slopes = {
            up: (damage[level] - damage[up])
            / ((levels[up] - levels[level]) * block.weights)
            for up in range(level + 1, len(levels))
        }
        # If slopes are equal, take the farthest level; the others are not corners.
        level = max(slopes, key=lambda up: (slopes[up], up))
        if slopes[level] < 0:  # under a custom criterion, more bits may do more damage
            return
        yield slopes[level], level


def check_budget(bits: float, levels: tuple[int, ...] = BITS) -> None:
    """Raise ValueError if a level is unsupported or the budget is out of range."""
    if not levels or set(levels) - set(BITS):
        raise ValueError(f"levels must be a subset of {BITS}; got {levels}.")
    if not isinstance(bits, int | float) or not levels[0] <= bits <= levels[-1]:
        raise ValueError(
            f"bits must be a budget from {levels[0]} to {levels[-1]} bits per weight; "
            f"got {bits!r}."
        )


def check_granularity(granularity: str) -> None:
    """Raise ValueError if the granularity is unknown."""
    if granularity not in ("rows", "layer"):
        raise ValueError(f'granularity must be "rows" or "layer"; got {granularity!r}.')
