"""Estimate the damage of rounding a row: Fisher information x rounding error."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "damage_of_rounding")
    # one row, one column, and sizes for which a transposed product fails
    sizes = [(1, 5), (6, 1)] + [tuple(rng.integers(2, 12, 2)) for _ in range(6)]
    for rows, columns in sizes:
        weight = rng.normal(size=(rows, columns))
        step = rng.uniform(0.2, 0.8)
        rounded = np.round(weight / step) * step
        if rows > 1:
            rounded[-1] = weight[-1]  # a row that rounding leaves unchanged
        inputs = rng.normal(size=(20, columns)) @ rng.normal(size=(columns, columns))
        inputs += rng.normal(size=columns)  # neither independent nor zero-mean
        H = inputs.T @ inputs / len(inputs)
        gradient = rng.lognormal(0, 1.5, size=rows)
        tensors = [torch.from_numpy(a) for a in (weight, rounded, H, gradient)]
        got = expect.call(answer, *tensors)
        want = torch.tensor(reference(weight, rounded, inputs, gradient))
        name_mistake(got, weight - rounded, H, gradient, want)
        expect.close(got, want, "damage_of_rounding(...)", 1e-5)


def reference(weight, rounded, inputs, gradient) -> list[float]:
    """Compute it by definition: the mean squared change of the output over inputs."""
    damage = []
    for w, r, g in zip(weight, rounded, gradient, strict=True):
        changes = [sum((w - r) * x) ** 2 for x in inputs]
        damage.append(float(g * sum(changes) / len(changes)))
    return damage


def name_mistake(got, change, H, gradient, want) -> None:
    """Raise `Failed` if the answer is one of three known mistakes."""
    full = ((change @ H) * change).sum(1)
    mistakes = {
        "alone": gradient * (change**2 * H.diagonal()).sum(1),
        "squared": gradient**2 * full,
        "no_gradient": full,
    }
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` reports it
    values = expect.numbers(got, "damage_of_rounding(...)")
    if np.allclose(values, want, rtol=1e-5):
        return
    for name, mistake in mistakes.items():
        if np.allclose(values, mistake, rtol=1e-6):
            raise Failed(name)
