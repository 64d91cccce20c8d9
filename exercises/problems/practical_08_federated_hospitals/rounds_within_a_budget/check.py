"""How many rounds a privacy budget allows."""

import math
from collections.abc import Callable

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CASES = [(8.0, 1, 1.0, 1e-5), (0.5, 10, 1.0, 1e-5), (40.0, 2, 8.0, 1e-4)]


def check(answer, rng) -> None:
    expect.function(answer, "rounds")
    cases = [
        (
            float(rng.uniform(4, 30)),
            int(rng.integers(2, 20)),
            float(rng.uniform(0.5, 8)),
            float(10 ** -rng.uniform(3, 7)),
        )
        for _ in range(10)
    ]
    # first the largest numbers, by which mistakes differ most
    cases = sorted(cases + CASES, key=lambda c: -largest_rho(c) * c[0] ** 2 / c[1])
    for case in cases:
        exact = largest_rho(case) * 2 * case[0] ** 2 / case[1]
        if abs(exact - round(exact)) < 1e-6:  # rounding could decide
            continue
        call = "rounds({:.4g}, {}, {:.4g}, {:.3g})".format(*case)
        compare(expect.integer(expect.call(answer, *case), call), case, call)


def largest_rho(case: tuple, log: Callable[[float], float] = math.log) -> float:
    _, _, epsilon, delta = case
    price = log(1 / delta)
    return (math.sqrt(price + epsilon) - math.sqrt(price)) ** 2


def compare(got: int, case: tuple, call: str) -> None:
    noise, steps, epsilon, delta = case
    allowed = largest_rho(case) * 2 * noise**2
    want = int(allowed / steps)
    if got == want:
        return
    one = steps / (2 * noise**2)
    alone = one + 2 * math.sqrt(one * math.log(1 / delta))
    guesses = {
        "linear": [int(epsilon / alone)],
        "beyond": [want + 1],
        "steps": [int(allowed)],
        "log10": [int(largest_rho(case, math.log10) * 2 * noise**2 / steps)],
        "squared": [int(largest_rho(case) * 2 * noise / steps)],
        "rho": [int(epsilon * 2 * noise**2 / steps)],
    }
    matches = [name for name, values in guesses.items() if got in values]
    raise Failed(
        matches[0] if len(matches) == 1 else "other", call=call, got=got, want=want
    )
