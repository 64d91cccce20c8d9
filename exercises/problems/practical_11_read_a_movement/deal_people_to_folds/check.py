"""Folds that keep people together."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "folds")
    for persons, count in ((30, 5), (7, 3), (5, 5), (11, 4), (3, 2)):
        names = rng.choice(90, persons, replace=False) + 1
        windows = rng.integers(1, 60, persons)
        windows[0] = windows.sum()  # folds of equally many windows have few people
        people = rng.permutation(np.repeat(names, windows))
        call = f"folds(windows of {persons} people, {count})"
        compare(expect.call(answer, people.copy(), count), people, count, call)


def compare(got, people: np.ndarray, count: int, call: str) -> None:
    listed = expect.call(lambda: list(got)) if hasattr(got, "__iter__") else []
    if len(listed) != count:
        raise Failed("length", call=call, want=count, got=len(listed))
    fold = np.full(len(people), -1)
    times = np.zeros(len(people), int)
    for number, each in enumerate(listed):
        rows = expect.numbers(each, call).ravel()
        usable = rows[(rows >= 0) & (rows < len(people)) & (rows == np.round(rows))]
        if isinstance(each, np.ndarray) and each.dtype == bool:
            usable = np.flatnonzero(each)
        fold[usable.astype(int)] = number
        np.add.at(times, usable.astype(int), 1)
    if (times != 1).any():
        window = int(np.argmax(times != 1))
        facts = {"count": len(people), "window": window, "got": int(times[window])}
        raise Failed("partition", call=call, **facts)
    for person in np.unique(people):
        own = np.unique(fold[people == person])
        if len(own) > 1:
            facts = {"person": int(person), "first": int(own[0]), "second": int(own[1])}
            raise Failed("person", call=call, **facts)
    sizes = [len(np.unique(people[fold == number])) for number in range(count)]
    if max(sizes) - min(sizes) > 1:
        raise Failed("balance", call=call, most=max(sizes), least=min(sizes))
