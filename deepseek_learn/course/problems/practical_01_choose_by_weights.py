# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The front's smallest weighted sum, every goal on the same scale."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "choose")
    cases = draw(rng)
    got = [expect.call(answer, points, weights) for points, weights, _ in cases]
    got = [expect.whole(index, "choose(points, weights)") for index in got]
    for index, (points, weights, found) in zip(got, cases, strict=True):
        if index != found["want"]:
            expect.call(answer, points, weights)  # so that this input is shown
            raise Failed(
                f"choose_by_weights.{mistake(got, cases)}",
                got=index,
                want=found["want"],
            )


def draw(rng) -> list[tuple]:
    """Cases until each mistake has chosen wrongly in two of them, with its choices."""
    left, cases = dict.fromkeys((*MISTAKES, "alike"), 2), []
    while len(cases) < 16 or max(left.values()) > 0:
        size, goals = int(rng.integers(5, 12)), int(rng.integers(2, 4))
        points = front_and_more(rng, size, goals, alike=rng.random() < 0.25)
        points = points * 10.0 ** rng.uniform(-3, 3, points.shape[1])
        weights = rng.uniform(0.1, 1, points.shape[1])
        want, clear = reference(points, weights)
        found = {name: how(points, weights) for name, how in MISTAKES.items()}
        edges = {name for name, index in found.items() if index != want}
        front = on_front(points)
        if (points[front] == points[front[0]]).all(0).any():
            edges.add("alike")
            clear = clear and want != front[0]  # where 0 / 0 leads
        if clear and (len(cases) < 16 or any(left[edge] > 0 for edge in edges)):
            left.update({edge: left[edge] - 1 for edge in edges})
            cases.append((points, weights, found | {"want": want}))
    return cases


def front_and_more(rng, size: int, goals: int, alike: bool) -> np.ndarray:
    """A bulging front, and a few far behind it, which must not set the scale.

    Each goal begins at another height; the front's best of the first goal has a twin,
    and the best of the last is as good there as a point that is far worse elsewhere.
    With `alike`, there is one more goal, in which the whole front is the same.
    """
    sphere = np.abs(rng.normal(size=(size, goals)))
    front = 1 - sphere / np.linalg.norm(sphere, axis=1)[:, None]
    beside = rng.uniform(2, 30, goals)
    beside[-1] = front[:, -1].min()
    twin = front[front[:, 0].argmin()]
    points = np.vstack([front, twin, rng.uniform(2, 30, (3, goals)), beside])
    points = points + rng.uniform(0, 3, goals)
    if alike:
        points = np.column_stack([points, [1.0] * (size + 1) + [2.0, 3.0, 4.0, 5.0]])
    return rng.permutation(points)


def on_front(points: np.ndarray) -> np.ndarray:
    rows = points.tolist()
    return np.array(
        [
            i
            for i, row in enumerate(rows)
            if not any(
                other != row and all(a <= b for a, b in zip(other, row, strict=True))
                for other in rows
            )
        ]
    )


def sums(points: np.ndarray, weights: np.ndarray, scale_by: np.ndarray) -> np.ndarray:
    total = np.zeros(len(points))
    for column, among, weight in zip(points.T, scale_by.T, weights, strict=True):
        low, high = among.min(), among.max()
        if high > low:
            total += weight * (column - low) / (high - low)
    return total


def reference(points: np.ndarray, weights: np.ndarray) -> tuple[int, bool]:
    """The index, and whether it is first by a margin."""
    front = on_front(points)
    total = sums(points[front], weights, points[front])
    ranked = np.sort(total)
    clear = len(ranked) > 2 and ranked[1] - ranked[0] > 1e-3
    return int(front[np.argmin(total)]), clear


def mistake(got: list[int], cases: list[tuple]) -> str:
    """The one mistake that explains every answer; "other" without one."""
    fits = [
        name
        for name in MISTAKES
        if all(i == found[name] for i, (*_, found) in zip(got, cases, strict=True))
    ]
    return fits[0] if len(fits) == 1 and fits[0] in TOLD else "other"


def strict_front(points) -> np.ndarray:
    return np.flatnonzero(~(points[:, None] < points).all(-1).any(0))


def without_twins(points) -> np.ndarray:
    return np.flatnonzero((points[:, None] <= points).all(-1).sum(0) == 1)


def best(points, weights, front, low, span) -> int:
    scaled = (points[front] - low) / np.where(span > 0, span, 1)
    return int(front[np.argmin(scaled @ weights)])


def among(points, weights, front) -> int:
    """As the reference, but for another front."""
    low = points[front].min(0)
    return best(points, weights, front, low, points[front].max(0) - low)


def divided(points, weights, by) -> int:
    """Every goal of the front, divided by something of the front."""
    front = on_front(points)
    return best(points, weights, front, points[front].min(0), by(points[front], 0))


# What answers choose that are not right; those in TOLD have a sentence of their own.
TOLD = ("unscaled", "all", "unweighted")
MISTAKES = {
    "unscaled": lambda points, weights: int(np.argmin(points @ weights)),
    "all": lambda points, weights: int(np.argmin(sums(points, weights, points))),
    "unweighted": lambda points, weights: reference(points, np.ones_like(weights))[0],
    "largest": lambda points, weights: divided(points, weights, np.max),
    "std": lambda points, weights: divided(points, weights, np.std),
    "mean": lambda points, weights: divided(points, weights, np.mean),
    "strict": lambda points, weights: among(points, weights, strict_front(points)),
    "twins": lambda points, weights: among(points, weights, without_twins(points)),
}


HEAD = "import numpy as np\n\n\ndef choose(points, weights):\n"
BODY = """    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="choose_by_weights",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "Choose by weights", "zh": "按权重选择"},
    prompt={
        "en": """`points` `[N, M]`: configurations and their goals, better when smaller, each in units of its own (a share, milliseconds,
joules). `weights` `[M]` say what counts, all above 0 (numpy).

Write `choose(points, weights)`: return the **index** (a row of `points`) of that point of the *front* whose weighted sum is
smallest, after each goal has been scaled so that the **front** spans 0 to 1 in it. A goal in which the whole front is alike
adds nothing.""",
        "zh": """`points` 形状为 `[N, M]`：各个配置及其目标值，越小越好，每个目标各有单位（比例、毫秒、焦耳）。`weights`（形状 `[M]`）说明各目标有多重要，全都大于 0（numpy 数组）。

请编写 `choose(points, weights)`：先把每个目标缩放，使**前沿**在该目标上恰好占满 0 到 1，再返回*前沿*上加权和最小的点的**索引**（即 `points` 的行号）。如果整条前沿在某个目标上都相同，该目标不计。""",
    },
    starter=HEAD + "    ...\n",
    answer="choose",
    hints=(
        {
            "en": "First the front, then its smallest and largest value in each goal: points far behind the front must not set the scale.",
            "zh": "先求前沿，再求前沿在各目标上的最小值和最大值：远远落在前沿后面的点，不能影响缩放。",
        },
        {
            "en": "`front = np.flatnonzero(...)` keeps the rows' numbers: the answer is `front[np.argmin(...)]`. Where high == low, divide by 1.",
            "zh": "`front = np.flatnonzero(...)` 保留了行号：答案是 `front[np.argmin(...)]`。若 high == low，就除以 1。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "goals not scaled": HEAD + "    return int(np.argmin(points @ weights))\n",
        "scaled by all points": HEAD
        + """    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    return int(np.argmin(scaled @ weights))
""",
        "the place on the front, not the row": changed(
            "int(front[np.argmin(scaled @ weights)])",
            "int(np.argmin(scaled @ weights))",
        ),
        "nothing divided by nothing": changed(
            "span = np.where(high > low, high - low, 1)", "span = high - low"
        ),
        "the largest sum": changed("np.argmin", "np.argmax"),
        "beaten only where worse everywhere": changed("(a <= b)", "(a < b)"),
        "equal points strike each other out": changed(
            "beats = (a <= b).all(-1) & (a < b).any(-1)",
            "beats = (a <= b).all(-1) & ~np.eye(len(points), dtype=bool)",
        ),
        "divided by the deviation": changed(
            "span = np.where(high > low, high - low, 1)",
            "span = np.where(high > low, points[front].std(0), 1)",
        ),
        "divided by the largest": changed("high - low, 1)", "high, 1)"),
        "from 0, not from the lowest": changed(
            "low, high = points[front].min(0), points[front].max(0)",
            "low, high = 0 * points[0], points[front].max(0)",
        ),
        "weights forgotten": changed("scaled @ weights", "scaled.sum(1)"),
    },
    right={
        "goal by goal": HEAD
        + """    rows = points.tolist()
    front = [
        i for i, row in enumerate(rows)
        if not any(
            all(a <= b for a, b in zip(other, row)) and other != row for other in rows
        )
    ]
    best, chosen = float("inf"), None
    for i in front:
        total = 0.0
        for m, weight in enumerate(weights):
            column = [rows[j][m] for j in front]
            if max(column) > min(column):
                total += weight * (rows[i][m] - min(column)) / (max(column) - min(column))
        if total < best:
            best, chosen = total, i
    return chosen
""",
    },
    points=2,
    minutes=15,
)
