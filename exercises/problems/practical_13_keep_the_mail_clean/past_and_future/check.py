"""Parts by time, without threads that cross the cut."""

from collections.abc import Iterable, Sequence

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

PARTS = ("train", "border", "test", "dropped")


def check(answer, rng) -> None:
    expect.function(answer, "split")
    # a thread of every kind, and mails on the first day of each part
    days = [10, 15, 16, 29, 30, 31, 30, 40, 40, 41, 12, 50]
    threads = [1, 7, 2, 3, 4, 1, 2, 3, 5, 5, 6, 4]
    compare(answer, days, threads, 30, 2)
    for _ in range(4):
        count, weeks = int(rng.integers(30, 60)), int(rng.integers(1, 4))
        own = rng.integers(0, 90, count).tolist()
        compare(answer, own, rng.integers(0, count // 2, count).tolist(), 60, weeks)


def compare(
    answer, days: Sequence[int], threads: Sequence[int], cut: int, weeks: int
) -> None:
    call = f"split({len(days)} days, threads, {cut}, {weeks})"
    given = np.array(days), np.array(threads)
    got = expect.call(answer, *given, cut, weeks)
    if not isinstance(got, Iterable) or isinstance(got, str):
        raise Failed("sequence", call=call, got=type(got).__name__)
    parts = [str(each) for each in expect.call(lambda: list(got))]
    if len(parts) != len(days):
        raise Failed("length", call=call, want=len(days), got=len(parts))
    old = {thread for day, thread in zip(days, threads, strict=True) if day < cut}
    for place, (day, thread, part) in enumerate(zip(days, threads, parts, strict=True)):
        if day >= cut:
            want = "dropped" if thread in old else "test"
        else:
            want = "border" if day >= cut - 7 * weeks else "train"
        facts = {"call": call, "place": place, "day": day, "thread": thread}
        if part not in PARTS:
            raise Failed("unknown", got=part, **facts)
        if part == want:
            continue
        if (part, want) == ("test", "dropped"):
            raise Failed("thread", **facts)
        raise Failed("part", got=part, want=want, **facts)
