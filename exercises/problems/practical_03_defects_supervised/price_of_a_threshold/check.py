"""Find the cheapest threshold when a miss and a false alarm have different prices."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

PRICES = [(10.0, 1.0), (1.0, 10.0), (3.0, 1.0), (1.0, 1.0), (25.0, 0.5)]
STEPS = 2**20  # the scores are multiples of 1 / STEPS, exact in float32


def check(answer, rng) -> None:
    expect.function(answer, "price_of_a_threshold")
    for trial in range(30):
        probability, label, c_miss, c_alarm = draw(rng, trial)
        call = f"price_of_a_threshold(probability, label, {c_miss:g}, {c_alarm:g})"
        result = expect.call(answer, probability, label, c_miss, c_alarm)
        values = expect.parts(result, 2, call)
        threshold, cost = (float(expect.shape(part, (), call)) for part in values)
        compare(threshold, cost, probability, label, (c_miss, c_alarm), call)


def draw(rng, trial: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    n = int(rng.integers(60, 200))
    label = (rng.random(n) < 0.25).astype(int)
    label[:3], label[3:6] = 1, 0  # both classes occur
    probability = rng.beta(1.2 + label, 2.2 - label)
    c_miss, c_alarm = PRICES[trial % len(PRICES)]
    if trial == 0:  # the best cell is functional, and alarms are dear: reject none
        probability[3], c_miss, c_alarm = 1.0, 1.0, 1000.0
    if trial == 1:  # misses are dear, and the worst-rated cell is defective: reject all
        probability[0], c_miss, c_alarm = 0.0, 1000.0, 1.0
    if trial % 4 == 2:  # overconfident, so the formula is far off
        probability = np.where(probability > 0.5, 0.9, 0.02) + 0.08 * probability
    if trial % 4 == 3:  # so close together that a fixed grid falls between them
        probability = 0.3 + probability / 512
    elif trial % 5 == 4:  # few different values: equal ones cannot be separated
        probability = np.round(probability * 16) / 16
    return np.round(probability * STEPS) / STEPS, label, c_miss, c_alarm


def price(threshold: float, probability, label, prices: tuple[float, float]) -> float:
    rejected = probability >= threshold
    misses = np.count_nonzero(~rejected & (label == 1))
    alarms = np.count_nonzero(rejected & (label == 0))
    return (prices[0] * misses + prices[1] * alarms) / len(label)


def compare(threshold: float, cost: float, probability, label, prices, call) -> None:
    if np.isnan(threshold):
        raise Failed("not_a_number", call=call)
    candidates = [*np.unique(probability).tolist(), np.inf]
    costs = [price(t, probability, label, prices) for t in candidates]
    least = min(costs)
    want = price(threshold, probability, label, prices)
    if want > least + 1e-9:
        best = candidates[costs.index(least)]
        facts = {"got": threshold, "cost": want, "best": best, "least": least}
        raise Failed("dear", call=call, **facts)
    if not abs(cost - want) <= 1e-5 * max(1.0, want):
        raise Failed("cost", call=call, threshold=threshold, want=want, got=cost)
