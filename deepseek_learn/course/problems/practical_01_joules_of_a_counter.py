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
    far = int(rng.integers(2**33, 2**38))  # real counters end beyond 32 bits
    yield [0, far // 3, 2 * far // 3, far // 5, far // 2], far
    yield [last - 7, 3], last  # over the end
    yield [last - 1, 0], last  # one step, over the end
    yield [5, 4, 3], last  # nearly a whole turn, twice
    yield [7, 7, 7, 9], last  # it stood still: no turn
    yield [last // 2], last  # nothing has passed
    for trial in range(12):
        wraps_at = int(rng.integers(10**6, 2**38 if trial % 2 else 10**9))
        size = int(rng.integers(2, 30))
        steps = rng.integers(0, wraps_at, size, endpoint=False)
        if trial % 3 == 0:
            steps = steps // (4 * size)  # seldom wraps
        start = int(rng.integers(0, wraps_at))
        yield [int(n) for n in (start + np.cumsum([0, *steps])) % wraps_at], wraps_at


def compare(got, want: float, readings: list[int], wraps_at: int) -> None:
    what = "joules(readings, wraps_at)"
    value = float(expect.shape(got, (), what))
    if same(value, want):
        return
    fits = [k for k, guess in mistakes(readings, wraps_at) if same(value, guess / 1e6)]
    if len(fits) == 1:
        raise Failed(f"joules_of_a_counter.{fits[0]}", got=value, want=want)
    if value < 0:
        raise Failed("joules_of_a_counter.negative", got=value, want=want)
    raise Failed("expect.value", what=what, got=value, want=want)


def mistakes(readings: list[int], wraps_at: int) -> Iterator[tuple[str, float]]:
    """Known mistakes, and the microjoules that each gives."""
    steps = [b - a for a, b in pairwise(readings)]
    ends = readings[-1] - readings[0]
    yield "unit", 1e6 * sum(step % wraps_at for step in steps)
    for guess in {ends, ends % wraps_at}:
        yield "ends", guess
    yield "dropped", sum(max(step, 0) for step in steps)
    yield "restarted", sum(b if b < a else b - a for a, b in pairwise(readings))
    yield "short", sum(s + (wraps_at - 1) * (s < 0) for s in steps)
    yield "whole", 1e6 * (sum(step % wraps_at for step in steps) // 10**6)


def same(value: float, guess: float) -> bool:
    return abs(value - guess) <= 1e-9 * max(abs(guess), 1)


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
    version=3,
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
        "a turn is one too short": changed(
            "(now - before) % wraps_at",
            "now - before + (wraps_at - 1) * (now < before)",
        ),
        "the counter restarted from zero": changed(
            "(now - before) % wraps_at", "now if now < before else now - before"
        ),
        "whole joules only": changed("total / 1e6", "total // 10**6"),
        "steps in float32": "import numpy as np\n\n\n"
        + HEAD
        + "    steps = np.diff(readings) % wraps_at\n    return steps.astype(np.float32).sum() / 1e6\n",
        "steps in 32 bits": "import numpy as np\n\n\n"
        + HEAD
        + "    steps = np.diff(readings) % wraps_at\n    return steps.astype(np.int32).sum() / 1e6\n",
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
