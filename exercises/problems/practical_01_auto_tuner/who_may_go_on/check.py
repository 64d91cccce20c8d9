"""Successive halving with several goals, by domination count."""

from collections.abc import Iterator

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "go_on")
    remaining = dict.fromkeys(EDGES, 2)
    drawn = 0
    while drawn < 16 or max(remaining.values()) > 0:
        goals, startup = int(rng.integers(2, 4)), int(rng.integers(3, 9))
        size = startup + int(rng.integers(-2, 7)) - 1
        levels = int(rng.choice([3, 9]))  # few levels give duplicates
        others = rng.integers(0, levels, (size, goals)) / 8
        mine = rng.integers(0, levels, goals) / 8
        keep = float(rng.choice([0.25, 0.5, 0.75]))
        open_edges = {edge for edge, times in remaining.items() if times > 0}
        edges = open_edges.intersection(
            edges_of(mine, others, keep, startup, open_edges)
        )
        if drawn >= 16 and not edges:
            continue
        drawn += 1
        remaining.update({edge: remaining[edge] - 1 for edge in edges})
        got = expect.call(answer, mine, others, keep, startup)
        value = expect.boolean(got, "go_on(mine, others, keep, startup)")
        compare(value, mine, others, keep, startup)


def weakly(every) -> np.ndarray:
    """Count, for each row, the rows nowhere worse, including itself and duplicates."""
    return (every[:, None] <= every).all(-1).sum(0)


def strictly(every) -> np.ndarray:
    return (every[:, None] < every).all(-1).sum(0)


def within(values, keep: float) -> bool:
    return values[0] <= np.quantile(values, keep)


# What wrong answers decide, from all trials (mine first) and their domination counts.
MISTAKES = {
    "the others' quantile": lambda every, count, keep: (
        count[0] <= np.quantile(count[1:], keep)
    ),
    "the sum of the goals": lambda every, count, keep: within(every.sum(1), keep),
    "the front only": lambda every, count, keep: count[0] == 0,
    "itself and twins dominate": lambda every, count, keep: within(weakly(every), keep),
    "better everywhere": lambda every, count, keep: within(strictly(every), keep),
    "the median": lambda every, count, keep: within(count, 0.5),
    "the value above": lambda every, count, keep: (
        count[0] <= np.quantile(count, keep, method="higher")
    ),
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


def edges_of(mine, others, keep: float, startup: int, candidates: set) -> Iterator[str]:
    """Yield the edge cases that decide this draw; mistakes only if in `candidates`."""
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
    for name in candidates.intersection(MISTAKES):
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
        raise Failed("early", size=len(every), startup=startup)
    stopped = "enough" if len(every) == startup else "stopped"
    kind = "kept" if want else stopped
    raise Failed(kind, startup=startup, mine=count[0], counts=sorted(count), keep=keep)


def counts(rows: list[list[float]]) -> list[int]:
    """Count pair by pair how many rows dominate each row."""
    return [
        sum(
            other != row and all(a <= b for a, b in zip(other, row, strict=True))
            for other in rows
        )
        for row in rows
    ]
