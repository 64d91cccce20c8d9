# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The guard's search: the fewest layers in float, in few measurements."""

import math

import numpy as np

from .. import expect
from ..problem import Failed, Problem

HEAD = "def fewest(lost, most, aim):\n"


class Measured:
    """A falling loss that counts how often it is asked."""

    def __init__(self, needed: int, most: int, aim: float, just: bool, rng):
        self.needed, self.most, self.calls = needed, most, 0
        steps = rng.uniform(0.001, 1.0, most + 1)
        self.losses = aim + np.cumsum(steps[::-1])[::-1]  # falling, all above the aim
        below = np.cumsum(steps) if just else steps[0] + np.cumsum(steps)
        self.losses[needed:] = aim - (below - steps[0] * just)[: most + 1 - needed]

    def __call__(self, count):
        self.calls += 1
        if count not in range(self.most + 1):
            raise Failed("spare_the_fewest.range", count=count, most=self.most)
        return float(self.losses[int(count)])

    __name__ = "lost"


FAR = {9: 1500, 10: 1400, 11: 1, 12: 2}  # trial -> what is needed


def check(answer, rng) -> None:
    expect.function(answer, "fewest")
    for trial in range(24):
        most = int(rng.integers(1, 200)) if trial else 64
        needed = int(rng.integers(0, most + 2))  # most + 1: none is enough
        needed = {0: 0, 2: most + 1, 3: most, 5: 1, 7: 0}.get(trial, needed)
        if trial in FAR:  # so many that halving, or steps of √most, takes too long
            most = int(rng.integers(1500, 2000))
            needed = FAR[trial]
        aim = float(rng.choice([0.25, 0.5, 1.0]))
        # in every second trial the loss at the answer is just the aim
        lost = Measured(needed, most, aim, trial % 2 == 1, rng)
        call = f"fewest(lost, most={most}, aim={aim})"
        got = expect.call(answer, lost, most, aim)
        compare(got, lost, call)


def compare(got, lost: Measured, call: str) -> None:
    possible = lost.needed <= lost.most
    if not possible:
        if got is not None:
            raise Failed("spare_the_fewest.none", call=call, got=got)
    elif got is None:
        raise Failed("spare_the_fewest.missed", call=call, want=lost.needed)
    else:
        value = expect.whole(got, call)
        if value != lost.needed:
            key = "many" if value > lost.needed else "few"
            raise Failed(
                f"spare_the_fewest.{key}", call=call, got=value, want=lost.needed
            )
    allowed = 4 + 2 * math.ceil(math.log2(max(1, min(lost.needed, lost.most))))
    if lost.calls > allowed:
        raise Failed("spare_the_fewest.calls", call=call, got=lost.calls, want=allowed)


BODY = """    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="spare_the_fewest",
    version=3,
    lesson="deploy",
    stage="practical",
    title={"en": "Spare the fewest", "zh": "留下最少的浮点层"},
    prompt={
        "en": """The layers are sorted by sensitivity. `lost(count)` builds the model with the `count` most sensitive ones in float and
measures how many points it loses: seconds each time. The more are spared, the less is lost.

Write `fewest(lost, most, aim)`: the smallest `count` from 0 to `most` with `lost(count) <= aim`, or `None` if even `most` is not
enough. Do not ask for every count: an answer $c$ may take at most $4 + 2 \\lceil\\log_2 c\\rceil$ measurements (0 as many as 1, `None` as many
as `most`), so that few layers need few, however many there are.""",
        "zh": """各层已按敏感度排好序。`lost(count)` 会构建“最敏感的 `count` 层保持浮点”的模型，并测量损失多少分，每次要几秒。
留下的层越多，损失越小。

请编写 `fewest(lost, most, aim)`：返回 0 到 `most` 中满足 `lost(count) <= aim` 的最小 `count`；如果连 `most` 都不够，返回 `None`。
不要逐个去试：答案为 $c$ 时，最多测量 $4 + 2 \\lceil\\log_2 c\\rceil$ 次（0 与 1 相同，`None` 与 `most` 相同）；这样，不论总共有多少层，答案很小时都只需很少几次。""",
    },
    starter=HEAD + "    ...\n",
    answer="fewest",
    hints=(
        {
            "en": "Ask for 0, then 1, 2, 4, 8, ... until it is enough; never for more than `most`. Now you "
            "have one count that is too small and one that is enough.",
            "zh": "先问 0，再问 1、2、4、8……直到够为止，但绝不超过 `most`。这时你有一个不够的数和一个够的数。",
        },
        {
            "en": "Between the two, halve: `middle = (low + high) // 2` takes the place of the one or the other.",
            "zh": "在两者之间二分：`middle = (low + high) // 2` 取代其中之一。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "one by one": HEAD
        + "    for count in range(most + 1):\n        if lost(count) <= aim:\n            return count\n    return None\n",
        "halves from the start": HEAD
        + """    if lost(most) > aim:
        return None
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high
""",
        "in steps of the root": HEAD
        + """    step, high = max(1, int(most**0.5)), 0
    while high < most and lost(high) > aim:
        high = min(high + step, most)
    for count in range(max(0, high - step + 1), high + 1):
        if lost(count) <= aim:
            return count
    return None
""",
        "stops at the power of two": HEAD
        + "    if lost(0) <= aim:\n        return 0\n    count = 1\n    while count < most and lost(count) > aim:\n        count *= 2\n    count = min(count, most)\n    return count if lost(count) <= aim else None\n",
        "just the aim is not enough": changed(
            "lost(middle) <= aim", "lost(middle) < aim"
        )
        .replace("lost(high) > aim", "lost(high) >= aim")
        .replace("lost(0) <= aim", "lost(0) < aim"),
        "just the aim is not enough at the end": changed(
            "lost(middle) <= aim", "lost(middle) < aim"
        ),
        "asks beyond most": changed("    high = min(high, most)\n", ""),
        "most where nothing is enough": changed(
            "        return None", "        return most"
        ),
        "one too few": changed("    return high\n", "    return low\n"),
        "forgets none at all": changed(
            "    if lost(0) <= aim:\n        return 0\n", ""
        ),
    },
    right={
        "most first, and 1, 3, 7, ...": HEAD
        + """    if lost(most) > aim:
        return None
    low, high, step = -1, 0, 1
    while high < most and lost(high) > aim:
        low, high, step = high, min(high + step, most), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high
""",
    },
    points=2,
    minutes=20,
)
