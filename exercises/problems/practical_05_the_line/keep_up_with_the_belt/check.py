"""Find the parts that are missed by a program with a limited number of waiting places."""

from itertools import islice

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

UNORDERED = (str, bytes, dict, set, frozenset)  # no list, though they can be iterated


def check(answer, rng) -> None:
    expect.function(answer, "missed")
    for places in (0, 1, 2, 3, *rng.integers(0, 5, 6).tolist()):
        arrivals, service = draw(rng)
        call = f"missed({len(arrivals)} arrivals, ..., {places})"
        got = numbers_in(expect.call(answer, arrivals, service, places), call)
        compare(got, reference(arrivals, service, places), arrivals, call)
    regular = [100 * i for i in range(40)]
    compare_all(answer, regular, [100] * 40, 0, "exactly fast enough")
    compare_all(answer, [0] * 5, [50] * 5, 2, "five parts at once")
    pause = [0, 0, 0, 1000, 1000, 1000]  # two waiting parts are done in the meantime
    compare_all(answer, pause, [10] * 6, 2, "three parts, a pause, three parts")


def draw(rng) -> tuple[list[int], list[int]]:
    """Draw times in steps of 10 ms, so that ends and arrivals often coincide.

    The program is fast enough on average, but now and then it takes much longer.
    """
    gaps = rng.choice([5, 10, 10, 15], 80)
    service = rng.integers(3, 10, 80)
    service[rng.random(80) < 0.08] = 60
    return (10 * gaps.cumsum()).tolist(), (10 * service).tolist()


def reference(arrivals, service, places: int) -> list[int]:
    """Simulate the program: `ends` holds when each accepted part is finished."""
    ends: list[int] = []
    missed = []
    for number, (time, needed) in enumerate(zip(arrivals, service, strict=True)):
        unfinished = sum(end > time for end in ends)
        if unfinished > places:
            missed.append(number)
        else:
            ends.append(max(time, ends[-1] if ends else time) + needed)
    return missed


def compare_all(answer, arrivals, service, places: int, what: str) -> None:
    call = f"missed({what}, {places} places)"
    got = numbers_in(expect.call(answer, arrivals, service, places), call)
    compare(got, reference(arrivals, service, places), arrivals, call)


def compare(got: list[int], want: list[int], arrivals, call: str) -> None:
    for part, time in enumerate(arrivals):  # the first difference explains the others
        if part in want and part not in got:
            raise Failed("accepted", call=call, part=part, time=time)
        if part in got and part not in want:
            raise Failed("refused", call=call, part=part, time=time)
    if got != want:
        raise Failed("order", call=call)


def numbers_in(got, call: str) -> list[int]:
    """Return the answer as a list of ints; arrays and tensors are accepted."""
    if hasattr(got, "__iter__") and not isinstance(got, UNORDERED):
        values = expect.call(lambda: list(islice(got, expect.MOST_PARTS)))
        if all(np.shape(each) == () for each in values):
            return [expect.integer(each, call) for each in values]
    raise Failed("list", call=call, got=type(got).__name__)
