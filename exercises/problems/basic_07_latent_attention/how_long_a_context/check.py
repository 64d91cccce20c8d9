"""Find how many tokens fit in memory next to the weights, for three cache layouts."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "longest_context(free, layers, sizes, number_bytes)"
KINDS = ("heads", "shared", "latent")


def check(answer, rng) -> None:
    expect.function(answer, "longest_context")
    for i in range(10):
        layers = int(rng.integers(4, 80))
        number_bytes = (1, 2, 4)[(i + i // 3) % 3]  # each kind gets each size
        sizes = draw(rng, KINDS[i % 3])
        want = int(rng.integers(10, 5000))
        token = layers * numbers(sizes) * number_bytes
        if i == 3:
            want = 0  # not even one fits
        remainder = int(rng.integers(0, token))  # the last token does not fit
        if i == 9:  # a float holds 53 bits
            want, remainder = 2**60 // token, token - 1
        free = token * want + (0, token - 1, remainder, remainder)[i // 3]
        got = expect.call(answer, free, layers, sizes, number_bytes)
        compare(got, want, free, layers, sizes, number_bytes)


def draw(rng, kind: str) -> dict:
    if kind == "latent":
        return {"rank": int(rng.integers(64, 600)), "rope": int(rng.integers(8, 70))}
    heads = int(rng.integers(2, 129))
    return {
        "heads": heads,
        "key": int(rng.integers(16, 200)),
        "value": int(rng.integers(16, 200)),
    }


def numbers(sizes: dict) -> int:
    """Count the numbers that one layer caches per token."""
    if "rank" in sizes:
        return sizes["rank"] + sizes["rope"]
    return sizes["heads"] * (sizes["key"] + sizes["value"])


def compare(got, want, free, layers, sizes, number_bytes) -> None:
    value = expect.integer(got, CALL)
    token = layers * numbers(sizes) * number_bytes
    guesses = {
        "layers": free // (token // layers),
        "rounded": np.ceil(free / token),
        "bytes": free // (token // number_bytes),
    }
    if "rank" in sizes:
        guesses["twice"] = free // (2 * token)
    else:
        guesses["one"] = free // (token // sizes["heads"])
    if value != want:
        for key, guess in guesses.items():
            if value == guess:
                raise Failed(key)
    if value != want:
        raise Failed("expect.value", what=CALL, got=value, want=want)
