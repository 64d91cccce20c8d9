# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Which points nobody dominates, ties and twins among them."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

CALL = "on_front(points)"
CASES = (
    [[0.5, 0.25]],
    [[0.5], [0.25], [0.25]],
    [
        [0.0, 0.5],
        [0.0, 0.75],
        [0.5, 0.0],
        [0.75, 0.0],
    ],  # better in one, equal in the other
    [[0.5, 0.5]] * 3,
    [[-1.0, 0.0], [0.0, -1.0], [-0.5, -0.5], [0.0, 0.0]],
)


def check(answer, rng) -> None:
    expect.function(answer, "on_front")
    cases = [np.array(points) for points in CASES]
    for trial in range(16):
        size, goals = int(rng.integers(4, 14)), int(rng.integers(1, 5))
        levels = 4 if trial % 2 else 1000  # few levels: many ties
        points = rng.integers(0, levels, (size, goals)) / levels
        points[-1] = points[int(rng.integers(size))]  # twins do not dominate
        cases.append(points)
    for points in cases:
        want = reference(points.tolist())
        got = expect.call(answer, points)
        expect.shape(got, want.shape, CALL)
        dtype = np.asarray(got).dtype
        if dtype.kind != "b":
            raise Failed("expect.dtype", what=CALL, got=str(dtype), want="bool")
        compare(np.asarray(got), want, points)


def reference(rows: list[list[float]]) -> np.ndarray:
    """Pair by pair, in plain Python."""

    def beaten(row: list[float]) -> bool:
        return any(
            all(a <= b for a, b in zip(other, row, strict=True)) and other != row
            for other in rows
        )

    return np.array([not beaten(row) for row in rows])


def compare(got: np.ndarray, want: np.ndarray, points: np.ndarray) -> None:
    if (got == want).all():
        return
    where = int(np.flatnonzero(got != want)[0])
    twins = (points == points[where]).all(1).sum() > 1
    kind = "twin" if want[where] and twins else "in" if want[where] else "out"
    facts = {"row": where, "points": np.round(points, 3).tolist()}
    raise Failed(f"find_the_front.{kind}", **facts)


HEAD = "import numpy as np\n\n\ndef on_front(points):\n"


def body(nowhere_worse: str, somewhere_better: str) -> str:
    return f"""    a, b = points[:, None], points[None]
    beats = {nowhere_worse} & {somewhere_better}
    return ~beats.any(0)
"""


problem = Problem(
    id="find_the_front",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "Find the front", "zh": "找出前沿"},
    prompt={
        "en": """`points` is a numpy array `[N, M]`: `N` configurations, `M` goals, all of them better when **smaller**. A point
dominates another when it is nowhere worse and somewhere better.

Write `on_front(points)`: return a bool array `[N]`, True where *no* point dominates. Two equal points do not dominate each
other: both stay.""",
        "zh": """`points` 是形状为 `[N, M]` 的 numpy 数组：`N` 个配置，`M` 个目标，都是**越小**越好。如果一个点处处不比另一个差、且至少有一处更好，就说它支配另一个点。

请编写 `on_front(points)`：返回布尔数组 `[N]`，凡是*没有任何*点支配它的位置为 True。两个完全相同的点互不支配，都应保留。""",
    },
    starter=HEAD + "    ...\n",
    answer="on_front",
    hints=(
        {
            "en": "For each pair (i, j) two questions: is i nowhere worse than j, in *all* goals? Is it better in *any*?",
            "zh": "对每一对 (i, j) 问两个问题：i 是否在*所有*目标上都不比 j 差？是否在*某个*目标上更好？",
        },
        {
            "en": "`points[:, None] <= points[None]` compares all pairs, `[N, N, M]`. `.all(-1)` for the first question; `<` and `.any(-1)` for the second.",
            "zh": "`points[:, None] <= points[None]` 一次比较所有的对，形状为 `[N, N, M]`。第一个问题用 `.all(-1)`，第二个用 `<` 加 `.any(-1)`。",
        },
    ),
    check=check,
    solution=HEAD + body("(a <= b).all(-1)", "(a < b).any(-1)"),
    wrong={
        "better everywhere": HEAD + body("(a < b).all(-1)", "(a < b).any(-1)"),
        "twins dominate each other": HEAD
        + """    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1)
    np.fill_diagonal(beats, False)
    return ~beats.any(0)
""",
        "the wrong way round": HEAD + body("(a >= b).all(-1)", "(a > b).any(-1)"),
        "the best of each goal only": HEAD
        + "    return (points == points.min(0)).any(1)\n",
        "numbers instead of True and False": HEAD
        + body("(a <= b).all(-1)", "(a < b).any(-1)").replace(
            "~beats.any(0)", "1.0 - beats.any(0)"
        ),
        "indices instead of a mask": HEAD
        + """    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    return np.flatnonzero(~beats.any(0))
""",
    },
    right={
        "a list of bools": HEAD
        + """    rows = points.tolist()

    def beats(a, b):
        return a != b and all(x <= y for x, y in zip(a, b))

    return [not any(beats(a, b) for a in rows) for b in rows]
""",
    },
    points=1,
    minutes=10,
)
