"""Spend a budget of bits on blocks of rows: a knapsack problem, solved greedily.

Rows are sorted by damage and split into blocks of 16. All blocks start at the fewest
bits. The algorithm then repeatedly takes the step that removes the most damage per
byte, until the budget is spent. Steps follow each block's lower convex hull, so the
greedy choice is optimal up to the last step. If giving all blocks the same bits does
less damage, that is done instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from torch import Tensor

from .matrix import ROWS


@dataclass(frozen=True)
class Block:
    """Up to 16 rows of one layer that get the same bits."""

    layer: str
    rows: Tensor  # [<= 16]
    damage: Tensor  # [levels]
    weights: int  # stored weights, including padding


def blocks_of(name: str, damage: Tensor, columns: int, group_size: int) -> list[Block]:
    """Split a layer into blocks, given its rows' damage `[levels, N]` and K columns."""
    # neighbors in this order are about equally sensitive, so one width suits a block
    order = damage[0].argsort(descending=True, stable=True)  # [N], worst first
    stored = ROWS * ceil(columns / group_size) * group_size
    return [
        Block(name, rows, damage[:, rows].sum(1), stored) for rows in order.split(ROWS)
    ]


def fill(blocks: list[Block], levels: tuple[int, ...], bits: float) -> list[int]:
    """Choose the level (an index) of each block, within `bits` per stored weight."""
    # 1. the steps of all blocks, those that remove the most damage per stored bit first
    steps = [(*step, i) for i, b in enumerate(blocks) for step in _hull(b, levels)]
    steps.sort(key=lambda step: -step[0])
    # 2. take them while the budget lasts. Each block's steps are in order, because its
    # hull is convex; a step that does not fit is skipped, since a smaller one may
    choice = [0] * len(blocks)
    stored = sum(block.weights for block in blocks)
    budget = (bits - levels[0]) * stored + 1e-6
    for _, level, i in steps:
        cost = (levels[level] - levels[choice[i]]) * blocks[i].weights
        if cost <= budget:
            choice[i], budget = level, budget - cost
    # 3. the unspent rest of the budget may be worth more than what greedy gained
    constant = [max(i for i, b in enumerate(levels) if b <= bits)] * len(blocks)
    return min(choice, constant, key=lambda levels: _damage(blocks, levels))


def _damage(blocks: list[Block], choice: list[int]) -> float:
    return sum(b.damage[level].item() for b, level in zip(blocks, choice, strict=True))


def _hull(block: Block, levels: tuple[int, ...]) -> Iterator[tuple[float, int]]:
    """Yield steps along the lower convex hull: damage removed per stored bit, level."""
    damage, level = block.damage.tolist(), 0
    while level + 1 < len(levels):
        slopes = {
            up: (damage[level] - damage[up])
            / ((levels[up] - levels[level]) * block.weights)
            for up in range(level + 1, len(levels))
        }
        # of equal slopes, take the farthest: those in between are not corners
        level = max(slopes, key=lambda up: (slopes[up], up))
        if slopes[level] < 0:  # under a custom criterion, more bits may do more damage
            return
        yield slopes[level], level
