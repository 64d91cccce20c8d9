# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Energy from a counter that starts again at zero."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "joules")
    for readings, wraps_at in draw(rng):
        total = sum((b - a) % wraps_at for a, b in pairwise(readings))
        got = expect.call(answer, readings, wraps_at)
        compare(got, total / 1e6, readings, wraps_at)


def draw(rng) -> Iterator[tuple[list[int], int]]:
    """Readings, and where the counter wraps; first the edges of what is allowed."""
    last = int(rng.integers(10**6, 10**9))
    yield [last - 1, 0], last  # one step, over the end
    yield [5, 4, 3], last  # nearly a whole turn, twice
    yield [7, 7, 7, 9], last  # it stood still: no turn
    yield [last // 2], last  # nothing has passed
    for trial in range(12):
        wraps_at = int(rng.integers(10**6, 10**9))
        size = int(rng.integers(2, 30))
        steps = rng.integers(0, wraps_at, size, endpoint=False)
        if trial % 3 == 0:
            steps = steps // (4 * size)  # seldom wraps
        start = int(rng.integers(0, wraps_at))
        yield [int(n) for n in (start + np.cumsum([0, *steps])) % wraps_at], wraps_at


def compare(got, want: float, readings: list[int], wraps_at: int) -> None:
    what = "joules(readings, wraps_at)"
    value = float(expect.shape(got, (), what))
    ends = (readings[-1] - readings[0]) / 1e6
    tolerance = 1e-9 * max(want, 1)
    if abs(value - want) <= tolerance:
        return
    if abs(value - want * 1e6) <= tolerance * 1e6:
        raise Failed("joules_of_a_counter.unit", got=value, want=want)
    if abs(value - ends) <= tolerance or abs(value - ends % (wraps_at / 1e6)) <= 1e-6:
        raise Failed("joules_of_a_counter.ends", got=value, want=want)
    if value < 0:
        raise Failed("joules_of_a_counter.negative", got=value, want=want)
    raise Failed("expect.value", what=what, got=value, want=want)


HEAD = "def joules(readings, wraps_at):\n"
BODY = """    total = 0
    for before, now in zip(readings, readings[1:]):
        total += (now - before) % wraps_at
    return total / 1e6
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="joules_of_a_counter",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "Joules of a counter that wraps", "zh": "会归零的能量计数器"},
    prompt={
        "en": """A processor counts its energy in microjoules. The counter has an end: after `wraps_at - 1` comes 0 again (on a busy server
that takes minutes). We read it again and again, so often that between two readings it wraps **at most once**, and less than
a whole turn passes.

Write `joules(readings, wraps_at)`: from the list of readings, in order, the energy from the first to the last, in **joules**.
Over the whole list it may have wrapped many times.""",
        "zh": """处理器用微焦为单位累计自己的能耗。计数器有尽头：到 `wraps_at - 1` 之后又从 0 开始（繁忙的服务器上只需几分钟）。我们反复读数，读得足够勤，使得相邻两次读数之间它**至多归零一次**，而且走过的量不满一整圈。

请编写 `joules(readings, wraps_at)`：由按先后排列的读数列表，算出从第一次到最后一次读数之间的能量，单位是**焦**。在整个列表期间，计数器可能归零多次。""",
    },
    starter=HEAD + "    ...\n",
    answer="joules",
    hints=(
        {
            "en": "Only neighbours can be compared. If a reading is smaller than the one before, how far did the counter really go?",
            "zh": "只有相邻的读数可以比较。如果某次读数比前一次小，计数器实际走了多少？",
        },
        {
            "en": "now − before, and `wraps_at` more if that is negative; Python's `%` does just that. Add up, and divide by a million once.",
            "zh": "用 now − before，若为负再加 `wraps_at`；Python 的 `%` 正是如此。累加起来，最后除以一百万。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "the last minus the first": HEAD
        + "    return (readings[-1] - readings[0]) / 1e6\n",
        "one wrap only": HEAD
        + "    return (readings[-1] - readings[0]) % wraps_at / 1e6\n",
        "wraps not undone": changed("(now - before) % wraps_at", "now - before"),
        "negative steps left out": changed(
            "(now - before) % wraps_at", "max(now - before, 0)"
        ),
        "the end is counted as a step": changed("% wraps_at", "% (wraps_at - 1)"),
        "a turn where it stood still": changed(
            "total += (now - before) % wraps_at",
            "total += now - before + wraps_at * (now <= before)",
        ),
        "the sign dropped": changed("(now - before) % wraps_at", "abs(now - before)"),
        "still microjoules": changed("total / 1e6", "total"),
    },
    right={
        "in NumPy": "import numpy as np\n\n\n"
        + HEAD
        + "    return (np.diff(readings) % wraps_at).sum() / 1e6\n",
    },
    points=1,
    minutes=10,
)
