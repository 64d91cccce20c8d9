# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The engine's self-check: are these the stored answers?"""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

HEAD = "def difference(answer, stored):\n"


def check(answer, rng) -> None:
    expect.function(answer, "difference")
    for trial in range(16):
        shape = tuple(int(n) for n in rng.integers(1, 6, int(rng.integers(1, 4))))
        stored = rng.normal(0, 10 ** rng.uniform(-3, 3), shape).astype(np.float32)
        moved = stored + 0.01 * np.abs(stored).max() * rng.normal(size=shape)
        moved = moved.astype(np.float32)
        compare(answer, moved, stored, "random numbers")
        if trial % 4 == 0:
            both, one = stored.copy(), moved.copy()
            both.flat[0] = one.flat[0] = np.nan
            compare(answer, one, both, "NaN in the same place")
            one.flat[0] = 1.0
            compare(answer, one, both, "NaN in the stored answer alone")
            one.flat[0] = np.nan
            compare(answer, one, stored, "NaN in the answer alone")
            one, both = moved.copy(), stored.copy()
            one.flat[0] = both.flat[0] = np.inf
            compare(answer, one, both, "the same infinity")
        longer = np.concatenate([moved, moved])
        compare(answer, longer, stored, "another shape")
        compare(answer, stored[None], stored, "the same numbers in another shape")
        compare(answer, np.abs(stored), np.zeros_like(stored), "stored zeros")
        compare(answer, stored, stored, "the very same")
        ends = np.full_like(stored, np.inf)
        compare(answer, -ends, ends, "the other infinity")
        compare(answer, stored, ends, "infinity in the stored answer alone")
        compare(answer, ends, ends, "nothing but the same infinity")


def reference(answer: np.ndarray, stored: np.ndarray) -> float:
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return float("inf") if np.isnan(apart) else apart / max(largest, 1e-12)


def compare(answer, y, r, what: str) -> None:
    want = reference(y, r)
    got = expect.call(answer, y, r)
    value = float(expect.shape(got, (), f"difference(...), {what}"))
    if want == value or np.isclose(value, want, rtol=1e-4):
        return
    if np.isnan(value):
        raise Failed("same_answers.nan", what=what)
    if np.isinf(want):
        raise Failed("same_answers.infinite", what=what, got=value)
    raise Failed("same_answers.value", what=what, got=value, want=want)


BODY = """    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)
"""
START = "import numpy as np\n\n\n"


def changed(old: str, new: str) -> str:
    assert old in BODY
    return START + HEAD + BODY.replace(old, new)


problem = Problem(
    id="same_answers",
    version=2,
    lesson="engine_and_targets",
    stage="innovation",
    title={"en": "Are these the same answers?", "zh": "这是同样的答案吗？"},
    prompt={
        "en": """The engine compares with stored answers. A careless comparison lets everything pass: `NaN > tolerance` is false. Write
`difference(answer, stored)` for two float32 arrays:

- another shape: infinity;
- else the largest $|y - r|$ over the largest *finite* $|r|$ (at least $10^{-12}$, so that nothing is divided by zero);
- where both are NaN, or both the same infinity, they do not differ; where only one is NaN, the answer is infinity.

Return a float. NumPy is imported as `np`.""",
        "zh": """引擎要与保存的答案比较。粗心的比较会放过一切：`NaN > tolerance` 为假。请为两个 float32 数组编写 `difference(answer, stored)`：

- 形状不同：返回无穷大；
- 否则返回最大的 $|y - r|$ 除以最大的*有限* $|r|$（至少取 $10^{-12}$，以免除以零）；
- 两者都是 NaN，或者是同一个无穷大时，视为没有差别；只有一个是 NaN 时，返回无穷大。

返回一个浮点数。NumPy 已导入为 `np`。""",
    },
    starter=START + HEAD + "    ...\n",
    answer="difference",
    hints=(
        {
            "en": "First find where they are the same: `(y == r) | (np.isnan(y) & np.isnan(r))`, and set the difference "
            "to 0 there. Infinity minus infinity is NaN, too.",
            "zh": "先找出相同的位置：`(y == r) | (np.isnan(y) & np.isnan(r))`，在那里把差设为 0。无穷大减无穷大也是 NaN。",
        },
        {
            "en": "`max()` of an array with a NaN is NaN: ask for it, and return infinity.",
            "zh": "含 NaN 的数组，`max()` 也是 NaN：检查它，并返回无穷大。",
        },
    ),
    check=check,
    solution=START + HEAD + BODY,
    wrong={
        "NaN passes": START
        + HEAD
        + "    if answer.shape != stored.shape:\n        return float('inf')\n    return float(np.nanmax(np.abs(answer - stored)) / max(np.nanmax(np.abs(stored)), 1e-12))\n",
        "broadcasts": changed(
            '    if answer.shape != stored.shape:\n        return float("inf")\n',
            "    stored = stored[:1]\n    answer = answer[:1]\n",
        ),
        "infinity is large": changed("r[np.isfinite(r)]", "r[~np.isnan(r)]"),
        "size for shape": changed(
            "answer.shape != stored.shape", "answer.size != stored.size"
        ),
        "any two infinities are the same": changed(
            "(y == r) |", "(y == r) | (np.isinf(y) & np.isinf(r)) |"
        ),
        "absolute": changed("apart / max(largest, 1e-12)", "apart"),
        "both NaN differ": changed(" | (np.isnan(y) & np.isnan(r))", ""),
    },
    right={
        "number by number": "import math\n\n\n"
        + HEAD
        + """    if answer.shape != stored.shape:
        return math.inf
    largest, apart = 1e-12, 0.0
    for y, r in zip(answer.ravel().tolist(), stored.ravel().tolist()):
        if math.isfinite(r):
            largest = max(largest, abs(r))
        if y == r or (math.isnan(y) and math.isnan(r)):
            continue
        gap = abs(y - r)
        apart = math.inf if math.isnan(gap) else max(apart, gap)
    return apart / largest
""",
    },
    points=2,
    minutes=15,
)
