"""Decide with the lowest expected cost, where asking a person is a third decision."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

DECISIONS = ("pass", "ask", "reject")
# (c_miss, c_alarm, c_ask): asking pays off in a wide band of probabilities, in a narrow
# one, never, in a wide one, never, and in a wide one
PRICES = [(10, 1, 0.5), (2, 1, 0.6), (4, 1, 1.5), (1, 20, 0.3), (5, 4, 20), (9, 8, 2)]


def check(answer, rng) -> None:
    expect.function(answer, "when_to_ask")
    for trial in range(24):
        c_miss, c_alarm, c_ask = map(float, PRICES[trial % len(PRICES)])
        if trial >= len(PRICES):
            scale = float(rng.choice([0.25, 0.5, 2.0, 4.0]))
            c_miss, c_alarm, c_ask = c_miss * scale, c_alarm * scale, c_ask * scale
        probability = np.append(rng.random(40), np.linspace(0, 1, 33))
        call = f"when_to_ask(probability, {c_miss:g}, {c_alarm:g}, {c_ask:g})"
        got = expect.call(answer, probability, c_miss, c_alarm, c_ask)
        words = expect.parts(got, len(probability), call)
        p = probability.tolist()
        compare(words, p, (c_miss, c_alarm, c_ask), call)


def compare(words: tuple, probability: list[float], prices: tuple, call: str) -> None:
    c_miss, c_alarm, c_ask = prices
    for i, (word, p) in enumerate(zip(words, probability, strict=True)):
        if not isinstance(word, str) or str(word) not in DECISIONS:
            raise Failed("word", call=call, i=i, got=word)
        costs = dict(
            zip(DECISIONS, (p * c_miss, c_ask, (1 - p) * c_alarm), strict=True)
        )
        want = min(costs, key=costs.__getitem__)
        if costs[str(word)] > costs[want] + 1e-6 * (c_miss + c_alarm):
            facts = {"cost": costs[str(word)], "least": costs[want], "want": want}
            raise Failed("dear", call=call, p=p, got=str(word), **facts)
