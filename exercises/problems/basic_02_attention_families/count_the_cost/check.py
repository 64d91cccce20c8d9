"""Count the multiply-adds of SC-attention and self-attention, and where they cross."""

import itertools
from collections.abc import Iterator

from deepseek_learn.course import expect


def check(answer, rng) -> None:
    expect.function(answer, "cost")
    for channels, tokens, width in draw(rng):
        call = f"cost({channels}, {tokens}, {width})"
        got = expect.parts(expect.call(answer, channels, tokens, width), 3, call)
        want = reference(channels, tokens, width)
        for i in range(3):
            value = expect.integer(got[i], f"{call}[{i}]")
            expect.close(value, want[i], f"{call}[{i}]", 1e-12)


def draw(rng) -> Iterator[tuple[int, int, int]]:
    """Yield C, N and d; first small values, where a mistake changes every digit."""
    for channels, width in EQUAL:
        yield channels, int(rng.integers(1, 20)), width
    yield 1, 1, 64  # self-attention costs more from the first token on
    yield 7, 2, 1  # C // 8 is 0
    yield 15, 3, 1
    for _ in range(30):
        channels, tokens = int(rng.integers(1, 520)), int(rng.integers(1, 5000))
        yield channels, tokens, int(rng.choice([1, 2, 4, 8, 16, 64]))


# (C, d) for which both cost the same at some number of tokens; for (4, 2) at N = 1
EQUAL = [(4, 2), (2, 1), (4, 1), (25, 2), (50, 2)]


def reference(channels: int, tokens: int, width: int) -> tuple[int, int, int]:
    crossing = next(
        n
        for n in itertools.count(1)
        if self_attention(channels, n, width) > spatial_channel(channels, n)
    )
    costs = spatial_channel(channels, tokens), self_attention(channels, tokens, width)
    return *costs, crossing


def spatial_channel(channels: int, tokens: int) -> int:
    return 9 * channels * tokens + 2 * channels * (channels // 8)


def self_attention(channels: int, tokens: int, width: int) -> int:
    projections = 4 * channels * width * tokens  # q, k, v and the output
    return projections + 2 * width * tokens**2  # scores, weighted sum
