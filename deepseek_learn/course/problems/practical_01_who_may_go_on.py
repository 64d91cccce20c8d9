# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Successive halving with several goals: by how many dominate a trial."""

from collections.abc import Iterator

import numpy as np

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "go_on")
    left = dict.fromkeys(EDGES, 2)
    drawn = 0
    while drawn < 16 or max(left.values()) > 0:
        goals, startup = int(rng.integers(2, 4)), int(rng.integers(3, 9))
        size = startup + int(rng.integers(-2, 7)) - 1
        levels = int(rng.choice([3, 9]))  # with few there are twins
        others = rng.integers(0, levels, (size, goals)) / 8
        mine = rng.integers(0, levels, goals) / 8
        keep = float(rng.choice([0.25, 0.5, 0.75]))
        wanted = {edge for edge, times in left.items() if times > 0}
        edges = wanted.intersection(edges_of(mine, others, keep, startup, wanted))
        if drawn >= 16 and not edges:
            continue
        drawn += 1
        left.update({edge: left[edge] - 1 for edge in edges})
        got = expect.call(answer, mine, others, keep, startup)
        value = expect.truth(got, "go_on(mine, others, keep, startup)")
        compare(value, mine, others, keep, startup)


def weakly(every) -> np.ndarray:
    """By how many each is nowhere beaten: by itself and its twins, too."""
    return (every[:, None] <= every).all(-1).sum(0)


def strictly(every) -> np.ndarray:
    return (every[:, None] < every).all(-1).sum(0)


def within(values, keep: float) -> bool:
    return values[0] <= np.quantile(values, keep)


# Of all trials, mine first, and their counts: what answers decide that are not right.
MISTAKES = {
    "the others' quantile": lambda every, count, keep: (
        count[0] <= np.quantile(count[1:], keep)
    ),
    "the sum of the goals": lambda every, count, keep: within(every.sum(1), keep),
    "the front only": lambda every, count, keep: count[0] == 0,
    "itself and twins dominate": lambda every, count, keep: within(weakly(every), keep),
    "better everywhere": lambda every, count, keep: within(strictly(every), keep),
    "the median": lambda every, count, keep: within(count, 0.5),
    "the rank below": lambda every, count, keep: (
        count[0] <= np.sort(count)[int(keep * len(count)) - 1]
    ),
}
EDGES = (
    "one too few",
    "just enough",
    "at the quantile",
    *MISTAKES,
)


def edges_of(mine, others, keep: float, startup: int, wanted: set) -> Iterator[str]:
    """Which of the edges decides in this case; of the mistakes only those wanted."""
    count = counts([mine.tolist(), *others.tolist()])
    quantile = np.quantile(count, keep)
    if count[0] > quantile and len(count) == startup - 1:
        yield "one too few"
    if len(count) < startup:
        return
    if count[0] > quantile and len(count) == startup:
        yield "just enough"
    if count[0] == quantile:
        yield "at the quantile"
    goes_on = count[0] <= quantile
    every = np.vstack([mine, others])
    for name in wanted.intersection(MISTAKES):
        if goes_on != MISTAKES[name](every, np.array(count), keep):
            yield name


def compare(value: bool, mine, others, keep: float, startup: int) -> None:
    every = [mine.tolist(), *others.tolist()]
    count = counts(every)
    early = len(every) < startup
    want = early or count[0] <= np.quantile(count, keep)
    if value == want:
        return
    if early:
        facts = {"size": len(every), "startup": startup}
        raise Failed("who_may_go_on.early", **facts)
    stopped = "enough" if len(every) == startup else "stopped"
    kind = "kept" if want else stopped
    facts = {
        "startup": startup,
        "mine": count[0],
        "counts": sorted(count),
        "keep": keep,
    }
    raise Failed(f"who_may_go_on.{kind}", **facts)


def counts(rows: list[list[float]]) -> list[int]:
    """How many dominate each row, pair by pair."""
    return [
        sum(
            other != row and all(a <= b for a, b in zip(other, row, strict=True))
            for other in rows
        )
        for row in rows
    ]


HEAD = "import numpy as np\n\n\ndef go_on(mine, others, keep, startup):\n"
BODY = """    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="who_may_go_on",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "Who may go on?", "zh": "谁可以继续？"},
    prompt={
        "en": """A trial has reached an epoch at which trials are compared. `mine` `[M]` are its values there, `others` `[N, M]` those that
other trials had at the *same* epoch; all better when smaller (numpy).

Write `go_on(mine, others, keep, startup)`: the **domination count** of a trial is how many of all these trials, `mine` included
among them, dominate it. Return True when the count of `mine` is **at most** the `keep` quantile of all counts (`np.quantile`).
With fewer than `startup` trials in all, too few to judge, return True.""",
        "zh": """一次试验到达了要做比较的轮次。`mine`（形状 `[M]`）是它此时的各项数值，`others`（形状 `[N, M]`）是其他试验在*同一*轮次的数值；都是越小越好（numpy 数组）。

请编写 `go_on(mine, others, keep, startup)`：一次试验的**被支配数**，是所有这些试验（包括 `mine`）中支配它的个数。当 `mine` 的被支配数**不大于**全部被支配数的 `keep` 分位数（`np.quantile`）时返回 True。如果试验总数少于 `startup`，还不足以判断，也返回 True。""",
    },
    starter=HEAD + "    ...\n",
    answer="go_on",
    hints=(
        {
            "en": "Put all in one array, `mine` first: `np.vstack([mine, others])`. Then who dominates whom, as in the front.",
            "zh": "把全部放进一个数组，`mine` 排第一：`np.vstack([mine, others])`。然后像求前沿那样，算出谁支配谁。",
        },
        {
            "en": "`beats.sum(0)` counts for each trial those that dominate it (sum over the *first* axis); the first entry is ours.",
            "zh": "`beats.sum(0)` 给出支配每次试验的个数（沿*第一个*轴求和）；第一个元素就是我们的。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "counts whom it dominates": changed("beats.sum(0)", "beats.sum(1)"),
        "must be strictly below the quantile": changed("count[0] <=", "count[0] <"),
        "judged before there are enough": changed("len(every) < startup", "False"),
        "only the others count for startup": changed("len(every) <", "len(others) <"),
        "judged only when there is one more": changed(
            "len(every) < startup", "len(every) <= startup"
        ),
        "the quantile of the others": changed("(count, keep)", "(count[1:], keep)"),
        "itself and its twins dominate it": changed(" & (a < b).any(-1)", ""),
        "dominates only where better everywhere": changed("(a <= b)", "(a < b)"),
        "the median, whatever is kept": changed("(count, keep)", "(count, 0.5)"),
        "the rank below the quantile": changed(
            "np.quantile(count, keep)", "np.sort(count)[int(keep * len(count)) - 1]"
        ),
        "a number for True and False": changed("bool(count", "float(count"),
        "only the front goes on": changed("np.quantile(count, keep)", "0"),
        "by the sum of the goals": changed(
            "count = beats.sum(0)", "count = every.sum(1)"
        ),
        "always": HEAD + "    return True\n",
    },
    right={
        "pair by pair": HEAD
        + """    every = [list(mine)] + [list(row) for row in others]
    if len(every) < startup:
        return True

    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b)) and any(x < y for x, y in zip(a, b))

    count = [sum(dominates(a, b) for a in every) for b in every]
    return count[0] <= np.quantile(count, keep)
""",
    },
    points=2,
    minutes=15,
)
