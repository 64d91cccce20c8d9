# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Greedy allocation: the next bits go where they remove most damage a bit."""

import torch

from .. import expect
from ..problem import Failed, Problem

LEVELS = ((2, 3, 4, 5, 6, 8), (2, 4, 8), (2, 3, 4, 6, 8), (3, 4, 8))


# Damage of each block at 2, 4 and 8 bits, and bits in all: where three habits go wrong.
TRAPS = (
    (((100, 60, 20), (30, 4, 1), (30, 4, 1)), 12),  # a step of 4 bits removes most
    (((100, 95, 90), (50, 10, 5)), 6),  # the worst block has the least to gain
    (((900, 600, 20), (30, 4, 1)), 8),  # the best step does not fit, a smaller one does
)


# Of 11 blocks at 2 bits or more: total / 11 * 11 is a little less than the total.
SHORT = (49, 60)


def check(answer, rng) -> None:
    expect.function(answer, "spend_the_budget")
    for blocks, total in TRAPS:
        blocks = torch.tensor(rng.permutation(blocks)).double().T
        compare(answer, blocks * rng.lognormal(0, 1), (2, 4, 8), total)
    for trial in range(24):
        levels = LEVELS[trial % len(LEVELS)]
        count = int(rng.integers(4, 12))
        # whole bits in all, so that the last of them may fit a small step only
        total = int(rng.integers(levels[0] * count + 1, levels[-1] * count))
        if trial < 2:  # nothing to spend, and more than can be spent
            total = (levels[0] * count, levels[-1] * count + 1)[trial]
        compare(answer, draw(rng, levels, count), levels, total)
    for total in SHORT:
        compare(answer, draw(rng, LEVELS[0], 11), LEVELS[0], total)
    for _ in range(2):
        count = int(rng.integers(4, 12))
        total = int(rng.integers(3 * count, 5 * count)) + rng.uniform(0.55, 0.95)
        compare(answer, draw(rng, LEVELS[0], count), LEVELS[0], round(total, 2))


def draw(rng, levels: tuple[int, ...], blocks: int) -> torch.Tensor:
    """Damage `[levels, blocks]`, convex in the bits: each bit divides by 1.5 to 8."""
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
            raise Failed("spend_the_budget.levels", got=float(value), levels=levels)
    sums = {"spent": int(values.sum()), "total": f"{total:g}"}
    if values.sum() > total:
        raise Failed("spend_the_budget.too_much", **sums)
    best = reference(damage, levels, total)
    left, want = (left_over(damage, levels, bits) for bits in (values.tolist(), best))
    if left > want * (1 + 1e-9):
        raise Failed("spend_the_budget.damage", got=left, want=want, **sums)


def left_over(damage, levels: tuple[int, ...], bits: list) -> float:
    return sum(
        damage[levels.index(int(b)), block].item() for block, b in enumerate(bits)
    )


def reference(damage, levels: tuple[int, ...], total: float) -> list[int]:
    """All steps sorted once: where damage is convex, each block's come in order."""
    steps = sorted(
        (-(low - high) / (up - b), block, b, up)
        for block, column in enumerate(damage.T.tolist())
        for low, high, b, up in zip(
            column, column[1:], levels, levels[1:], strict=False
        )
    )
    bits = [levels[0]] * damage.shape[1]
    left = total - sum(bits)
    for _, block, b, up in steps:
        if bits[block] == b and up - b <= left:
            bits[block], left = up, left - (up - b)
    return bits


HEAD = """def spend_the_budget(damage, levels, bits):
"""
BODY = """    level = [0] * damage.shape[1]
    left = (bits - levels[0]) * len(level) + 1e-6
    while True:
        best, gain = None, 0.0
        for block, at in enumerate(level):
            if at + 1 == len(levels) or levels[at + 1] - levels[at] > left:
                continue
            cost = levels[at + 1] - levels[at]
            removed = (damage[at, block] - damage[at + 1, block]) / cost
            if removed > gain:
                best, gain = block, removed
        if best is None:
            return [levels[at] for at in level]
        left -= levels[level[best] + 1] - levels[level[best]]
        level[best] += 1
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="spend_the_budget",
    version=2,
    lesson="grouping_strategies",
    stage="innovation",
    title={"en": "Spend the budget", "zh": "用好预算"},
    prompt={
        "en": """You know the damage of each block at each number of bits: `damage` is `[levels, blocks]`,
`levels` a tuple of bits such as `(2, 3, 4, 5, 6, 8)`. All blocks are of one size, and damage
falls more and more slowly with the bits (it is *convex*).

Write `spend_the_budget(damage, levels, bits)`. Every block begins at `levels[0]`. Again and
again, raise the block by one level for which **one bit removes the most damage**; mind that
from 6 to 8 is two bits. A step that exceeds the budget is skipped, and a smaller one may
still fit. `bits` is the budget, an **average** over the blocks. Return the bits of each block,
a list or a tensor `[blocks]`.""",
        "zh": """每个块在每种位数下的损害都已知：`damage` 的形状是 `[levels, blocks]`，`levels` 是位数的元组，例如 `(2, 3, 4, 5, 6, 8)`。所有块一样大，损害随位数增加而下降，并且越降越慢（即是*凸的*）。

请编写 `spend_the_budget(damage, levels, bits)`。每个块都从 `levels[0]` 开始。然后反复选出**平均每一位能消除最多损害**的那个块，把它提高一级；注意从 6 到 8 要花两位。超出预算的一步就跳过，更小的一步也许还放得下。`bits` 是预算，即各块位数的**平均值**。返回每个块的位数，可以是列表，也可以是形状为 `[blocks]` 的张量。""",
    },
    starter=HEAD + "    ...\n",
    answer="spend_the_budget",
    hints=(
        {
            "en": "The budget in bits is `(bits - levels[0]) * blocks`: what is left "
            "once every block has the fewest. Add 1e-6, since `bits` is a quotient.",
            "zh": "可以花的位数是 `(bits - levels[0]) * blocks`，也就是每个块都取最少位数之后剩下的。`bits` 是除出来的小数，请再加上 1e-6。",
        },
        {
            "en": "A block at level `i` removes `damage[i] - damage[i + 1]` with its "
            "next step, which costs `levels[i + 1] - levels[i]`. Compare the quotients.",
            "zh": "处在第 `i` 级的块，下一步消除 `damage[i] - damage[i + 1]`，花费 `levels[i + 1] - levels[i]`。比较两者的商。",
        },
        {
            "en": "Look only at steps that still fit, and stop when there is none.",
            "zh": "只考虑还放得下的步骤；一个都没有时就结束。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "damage a step, whatever it costs": changed(" / cost", ""),
        "stops at the first step that does not fit": HEAD
        + BODY.replace(" or levels[at + 1] - levels[at] > left", "").replace(
            "        left -=",
            """        if levels[level[best] + 1] - levels[level[best]] > left:
            return [levels[at] for at in level]
        left -=""",
        ),
        "the most damaged block first": changed(
            "(damage[at, block] - damage[at + 1, block]) / cost", "damage[at, block]"
        ),
        "equal bits for all": HEAD
        + """    fits = max(b for b in levels if b <= bits)
    return [fits] * damage.shape[1]
""",
        "core and dynamic: all or nothing": HEAD
        + """    order = damage[0].argsort(descending=True)
    core = int((bits - levels[0]) * len(order) / (levels[-1] - levels[0]))
    given = damage.new_full((len(order),), levels[0])
    given[order[:core]] = levels[-1]
    return given
""",
        "spends when there is nothing to spend": changed(
            "* len(level) + 1e-6", "* len(level) + 1.0"
        ),
        "half a bit too much": changed("+ 1e-6", "+ 0.5"),
        "rounded to whole bits": changed(
            "(bits - levels[0]) * len(level) + 1e-6",
            "round((bits - levels[0]) * len(level))",
        ),
        "the budget rounded up": changed(
            "(bits - levels[0]) * len(level) + 1e-6",
            "-(-(bits - levels[0]) * len(level) // 1)",
        ),
        "the budget cut off": changed(
            "(bits - levels[0]) * len(level) + 1e-6",
            "int(bits * len(level)) - levels[0] * len(level)",
        ),
        "nothing added for rounding": changed(" + 1e-6", ""),
        "levels instead of bits": changed("[levels[at] for at in level]", "level"),
        "the lowest bits forgotten in the budget": changed(
            "(bits - levels[0]) * len(level)", "bits * len(level)"
        ),
    },
    right={
        "all steps sorted once, as a tensor": "import torch\n\n\n"
        + HEAD
        + """    steps = []
    for b in range(damage.shape[1]):
        for i in range(len(levels) - 1):
            cost = levels[i + 1] - levels[i]
            steps.append(((damage[i, b] - damage[i + 1, b]).item() / cost, b, i, cost))
    at = [0] * damage.shape[1]
    left = int((bits - levels[0]) * len(at) + 1e-6)
    for _, b, i, cost in sorted(steps, reverse=True):
        if at[b] == i and cost <= left:
            at[b], left = i + 1, left - cost
    return torch.tensor([levels[i] for i in at])
""",
    },
    points=3,
    minutes=25,
)
