"""Sort neuron indices into three groups: each into exactly one, boundaries included."""

from typing import Any

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

NAMES = ("core", "medium", "low")
NEAR = 1e-9  # distance from a boundary that float32 cannot resolve


def check(answer, rng) -> None:
    expect.function(answer, "split_neurons")
    for trial in range(10):
        compare(answer, *draw(rng, trial))


def draw(rng, trial: int) -> tuple[torch.Tensor, float, float]:
    """Draw frequencies, `high` and `low`; include both bounds and their neighbors."""
    neurons, positions = int(rng.integers(8, 40)), int(rng.integers(6, 25))
    low, high = np.sort(rng.choice(np.arange(1, positions), 2, replace=False))
    if trial == 1:
        low = high
    if trial == 2:  # all are medium
        low, high = 0, positions
    frequency = rng.integers(0, positions + 1, size=neurons) / positions
    high, low = float(high / positions), float(low / positions)
    edges = [low, high, low - NEAR, low + NEAR, high - NEAR, high + NEAR, 0.0, 1.0]
    frequency[: len(edges)] = np.clip(edges, 0, 1)
    frequency = rng.permutation(frequency)
    if trial > 6:  # a single neuron: core, low, medium
        frequency = np.array([(high + NEAR, low - NEAR, high)[trial - 7]])
    return torch.from_numpy(frequency), high, low


def compare(answer, frequency: torch.Tensor, high: float, low: float) -> None:
    values = frequency.tolist()
    groups = expect.call(answer, frequency, high, low)
    groups = expect.parts(groups, 3, "split_neurons(...)")
    got: dict[int, int] = {}  # neuron → the group that it is in
    for number, group in enumerate(groups):
        for neuron in indices(group, f"split_neurons(...)[{number}]", len(values)):
            if neuron in got:
                names = {"first": NAMES[got[neuron]], "second": NAMES[number]}
                raise Failed("twice", neuron=neuron, **names)
            got[neuron] = number
    for neuron, value in enumerate(values):
        want = 0 if value > high else 2 if value < low else 1
        if got.get(neuron) != want:
            facts: dict[str, Any] = {"neuron": neuron, "frequency": value}
            facts |= {"high": high, "low": low, "want": NAMES[want]}
            if neuron not in got:
                raise Failed("lost", **facts)
            raise Failed("group", got=NAMES[got[neuron]], **facts)


def indices(group, what: str, neurons: int) -> list[int]:
    expect.tensor(group, what)
    if group.dtype != torch.int64 or group.dim() != 1:
        facts = {"got": str(group.dtype), "shape": list(group.shape)}
        raise Failed("not_indices", what=what, **facts)
    numbers = [int(n) for n in expect.numbers(group, what)]
    outside = [n for n in numbers if not 0 <= n < neurons]
    if outside:
        raise Failed("outside", what=what, got=outside[0], last=neurons - 1)
    return numbers
