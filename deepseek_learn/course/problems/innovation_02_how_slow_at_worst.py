# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Percentiles of a run by nearest rank, as the engine gives them."""

import math

from .. import expect
from ..problem import Failed, Problem

HEAD = "def percentile(ms, part):\n"


def check(answer, rng) -> None:
    expect.function(answer, "percentile")
    for size in (1, 2, 3, 10, 20, 99, 100, 101, *rng.integers(4, 400, 8).tolist()):
        ms = rng.lognormal(1, 1, size).round(1).tolist()  # some twice
        for part in (0.5, 0.9, 0.99, 1.0, *between_ranks(rng, size)):
            call = f"percentile({size} readings, {part})"
            got = expect.call(answer, ms, part)
            compare(float(expect.shape(got, (), call)), ms, part, call)


def between_ranks(rng, size: int) -> list[float]:
    """Parts such as 0.137 at which rounding in part * size cannot decide."""
    parts = (rng.integers(1, 1000, 12) / 1000).tolist()
    return [p for p in parts if abs(p * size - round(p * size)) > 1e-6][:2]


def rank(size: int, part: float) -> int:
    """The smallest rank with at least `part` of the readings at or below it."""
    return math.ceil(part * size)


def compare(got: float, ms: list[float], part: float, call: str) -> None:
    ordered = sorted(ms)
    want = ordered[rank(len(ms), part) - 1]
    if got == want:
        return
    if got not in ms:
        raise Failed("how_slow_at_worst.between", call=call, got=got)
    if got < want:
        raise Failed("how_slow_at_worst.below", call=call, got=got, want=want)
    raise Failed("how_slow_at_worst.above", call=call, got=got, want=want)


START = "import math\n\n\n"

problem = Problem(
    id="how_slow_at_worst",
    version=1,
    lesson="engine_and_targets",
    stage="innovation",
    title={"en": "How slow at worst?", "zh": "最慢有多慢？"},
    prompt={
        "en": """A camera on a line does not wait for the mean. The engine therefore gives the median, the 90th and the 99th percentile of its
runs, by **nearest rank**: the smallest reading that at least this part of all readings does not exceed. So it is always a time
that really occurred.

Write `percentile(ms, part)` for a list of milliseconds in any order and a `part` above 0, at most 1. Leave the list as it was.""",
        "zh": """产线上的相机不会等平均值。所以引擎给出各次运行的中位数、第 90 和第 99 百分位数，采用**最近秩**：不超过它的读数至少占给定比例的最小读数。因此它总是一个
真实出现过的时间。

请编写 `percentile(ms, part)`：`ms` 是任意顺序的毫秒数列表，`part` 大于 0、至多为 1。不要改动原列表。""",
    },
    starter=START + HEAD + "    ...\n",
    answer="percentile",
    hints=(
        {
            "en": "Sort a copy. Of 20 readings, how many make up 90 %? And of 7 readings, half?",
            "zh": "对副本排序。20 个读数的 90 % 是几个？7 个读数的一半呢？",
        },
        {
            "en": "`sorted(ms)[math.ceil(part * len(ms)) - 1]`.",
            "zh": "`sorted(ms)[math.ceil(part * len(ms)) - 1]`。",
        },
    ),
    check=check,
    solution=START + HEAD + "    return sorted(ms)[math.ceil(part * len(ms)) - 1]\n",
    wrong={
        "rounds down": HEAD
        + "    return sorted(ms)[max(int(part * len(ms)) - 1, 0)]\n",
        "one too far": HEAD
        + "    return sorted(ms)[min(int(part * len(ms)), len(ms) - 1)]\n",
        "three known parts, and else the slowest": START
        + HEAD
        + """    part = part if part in (0.5, 0.9, 0.99) else 1.0
    return sorted(ms)[math.ceil(part * len(ms)) - 1]
""",
        "between two": "import numpy as np\n\n\n"
        + HEAD
        + "    return float(np.percentile(ms, 100 * part))\n",
        "sorts the learner's list": START
        + HEAD
        + "    ms.sort()\n    return ms[math.ceil(part * len(ms)) - 1]\n",
        "the order of the runs": START
        + HEAD
        + "    return ms[math.ceil(part * len(ms)) - 1]\n",
    },
    right={
        "by counting": HEAD
        + """    for value in sorted(ms):
        if sum(other <= value for other in ms) / len(ms) >= part:
            return value
""",
        "in NumPy": "import numpy as np\n\n\n"
        + HEAD
        + '    return np.quantile(ms, part, method="inverted_cdf")\n',
    },
    points=1,
    minutes=10,
)
