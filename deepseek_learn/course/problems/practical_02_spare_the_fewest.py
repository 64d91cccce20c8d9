# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The guard's search: the fewest layers in float, in few measurements."""

import math

from .. import expect
from ..problem import Failed, Problem

HEAD = "def fewest(lost, most, aim):\n"


class Measured:
    """A falling loss that counts how often it is asked."""

    def __init__(self, needed: int, most: int, rng):
        self.needed, self.most, self.calls = needed, most, []
        self.steps = rng.uniform(0.1, 1.0, most + 1)

    def __call__(self, count):
        self.calls.append(count)
        count = int(count)
        if not 0 <= count <= self.most:
            raise Failed("spare_the_fewest.range", count=count, most=self.most)
        above = float(self.steps[count:].sum())
        return 0.5 + above if count < self.needed else 0.4 - 1e-3 * count


def check(answer, rng) -> None:
    expect.function(answer, "fewest")
    for trial in range(24):
        most = int(rng.integers(1, 200)) if trial else 64
        needed = int(rng.integers(0, most + 2))  # most + 1: none is enough
        needed = {0: 0, 1: most + 1, 2: most, 3: 1}.get(trial, needed)
        lost = Measured(needed, most, rng)
        call = f"fewest(lost, most={most}, aim=0.5)"
        got = expect.call(answer, lost, most, 0.5)
        compare(got, lost, call)


def compare(got, lost: Measured, call: str) -> None:
    possible = lost.needed <= lost.most
    if not possible:
        if got is not None:
            raise Failed("spare_the_fewest.none", call=call, got=got)
    elif got is None:
        raise Failed("spare_the_fewest.missed", call=call, want=lost.needed)
    else:
        value = float(expect.shape(got, (), call))
        if value != lost.needed:
            key = "many" if value > lost.needed else "few"
            raise Failed(
                f"spare_the_fewest.{key}", call=call, got=value, want=lost.needed
            )
    allowed = 3 + 2 * math.ceil(math.log2(lost.most + 2))
    if len(lost.calls) > allowed:
        raise Failed(
            "spare_the_fewest.calls", call=call, got=len(lost.calls), want=allowed
        )


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
    version=1,
    lesson="deploy",
    stage="practical",
    title={"en": "Spare the fewest", "zh": "留下最少的浮点层"},
    prompt={
        "en": """The layers are sorted by sensitivity. `lost(count)` builds the model with the `count` most sensitive ones in float and
measures how many points it loses: seconds each time. The more are spared, the less is lost.

Write `fewest(lost, most, aim)`: the smallest `count` from 0 to `most` with `lost(count) <= aim`, or `None` if even `most` is not
enough. Do not ask for every count: at most about $2 \\log_2$ of `most` measurements (an answer of few layers should need few).""",
        "zh": """各层已按敏感度排好序。`lost(count)` 会构建“最敏感的 `count` 层保持浮点”的模型，并测量损失多少分，每次要几秒。
留下的层越多，损失越小。

请编写 `fewest(lost, most, aim)`：返回 0 到 `most` 中满足 `lost(count) <= aim` 的最小 `count`；如果连 `most` 都不够，返回 `None`。
不要逐个去试：测量次数大约不超过 $2 \\log_2$ `most`（答案很小时，也应只需很少几次）。""",
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
        "stops at the power of two": HEAD
        + "    if lost(0) <= aim:\n        return 0\n    count = 1\n    while count < most and lost(count) > aim:\n        count *= 2\n    count = min(count, most)\n    return count if lost(count) <= aim else None\n",
        "asks beyond most": changed("    high = min(high, most)\n", ""),
        "most where nothing is enough": changed(
            "        return None", "        return most"
        ),
        "one too few": changed("    return high\n", "    return low\n"),
        "forgets none at all": changed(
            "    if lost(0) <= aim:\n        return 0\n", ""
        ),
    },
    points=2,
    minutes=20,
)
