"""Fit the temperature that minimizes the cross-entropy of held-out logits."""

import math

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# temperature from which the labels are drawn, number of classes
CASES = [(0.09, 2), (65.0, 3), (0.4, 5), (3.0, 2), (1.0, 4), (12.0, 2)]
TOLERANCE = 0.0101


def check(answer, rng) -> None:
    import torch

    expect.function(answer, "temperature")
    for trial in range(10):
        true, classes = CASES[trial % len(CASES)]
        true *= float(rng.uniform(0.8, 1.2))
        z, y = draw(rng, true, classes, int(rng.integers(300, 500)))
        call = "temperature(logits, label)"
        logits = torch.tensor(z, dtype=torch.float32)
        got = expect.call(answer, logits, torch.tensor(y, dtype=torch.int64))
        compare(number(got, call), logits.double().numpy(), y, call)


def number(got, call: str) -> float:
    """The answer as a float; an array or a tensor with a single value will do."""
    values = expect.numbers(got, call)
    return float(values.flat[0] if values.size == 1 else expect.shape(got, (), call))


def draw(rng, true: float, classes: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from softmax(logits / true)."""
    z = rng.normal(0, 2.5, (n, classes))
    e = np.exp(z)
    p = e / e.sum(1, keepdims=True)
    y = (p.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, classes - 1)
    return true * z, y


def slope(t: float, z: np.ndarray, y: np.ndarray) -> float:
    """The derivative of the cross-entropy with respect to 1/T."""
    e = np.exp((z - z.max(1, keepdims=True)) / t)
    p = e / e.sum(1, keepdims=True)
    return float(((p * z).sum(1) - z[np.arange(len(y)), y]).mean())


def reference(z: np.ndarray, y: np.ndarray) -> float:
    low, high = 1e-3, 1e4
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle, z, y) < 0 else (middle, high)
    return math.sqrt(low * high)


def loss(t: float, z: np.ndarray, y: np.ndarray) -> float:
    scaled = (z - z.max(1, keepdims=True)) / t
    own = scaled[np.arange(len(y)), y]
    return float((np.log(np.exp(scaled).sum(1)) - own).mean())


def compare(got: float, z: np.ndarray, y: np.ndarray, call: str) -> None:
    if not (math.isfinite(got) and got > 0):
        raise Failed("number", call=call, got=got)
    want = reference(z, y)
    if abs(math.log(got / want)) <= TOLERANCE:
        return
    if abs(math.log(got * want)) <= TOLERANCE:
        raise Failed("inverse", call=call, got=got)
    facts = {"want": want, "loss": loss(got, z, y), "least": loss(want, z, y)}
    raise Failed("off", call=call, got=got, classes=z.shape[1], **facts)
