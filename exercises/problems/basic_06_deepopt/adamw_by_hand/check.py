"""Compute one step of AdamW, element by element: the baseline for every rival."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TIMES = (1, 1, 2, 5, 20, 1000)


def check(answer, rng) -> None:
    expect.function(answer, "adamw_step")
    for t in (*TIMES, *TIMES):
        arrays, options = draw(rng, t)
        tensors = [torch.from_numpy(a) for a in arrays]
        got = expect.call(answer, *tensors, t, *options)
        call = f"adamw_step(..., t={t})"
        results = expect.parts(got, 3, call)
        compare(results, [a.astype(float) for a in arrays], t, options, call)


def draw(rng, t: int) -> tuple[list[np.ndarray], list[float]]:
    """Draw p, g, m, v in float32, then lr, beta1, beta2, eps, decay."""
    n = int(rng.integers(3, 9))
    size = 10 ** rng.uniform(-3, 1)  # magnitude of the gradient
    p, g, m = rng.normal(size=n), size * rng.normal(size=n), size * rng.normal(size=n)
    v = size**2 * rng.uniform(0.2, 2, n)
    if t == 1:
        m, v = np.zeros(n), np.zeros(n)
    eps = float(rng.choice([1e-8, size * rng.uniform(0.1, 1)]))
    betas = [rng.uniform(0.7, 0.95), rng.uniform(0.9, 0.99)]
    options = [rng.uniform(0.02, 0.3), *betas, eps, rng.uniform(0.05, 0.5)]
    return [a.astype("float32") for a in (p, g, m, v)], [float(x) for x in options]


def compare(results, arrays, t: int, options, call: str) -> None:
    p, g, m, v = arrays
    lr, beta1, beta2, eps, decay = options
    new_m = beta1 * m + (1 - beta1) * g
    new_v = beta2 * v + (1 - beta2) * g**2
    coupled = beta1 * m + (1 - beta1) * (g + decay * p)
    guesses = {"coupled": coupled, "betas": beta1 * g + (1 - beta1) * m}
    guesses["returned"] = new_m / (1 - beta1**t)
    name_mistake(results[1], new_m, guesses)
    expect.close(results[1], torch.tensor(new_m), f"{call}[1]")
    name_mistake(results[2], new_v, {"betas": beta2 * g**2 + (1 - beta2) * v})
    expect.close(results[2], torch.tensor(new_v), f"{call}[2]")

    first, second = 1 - beta1**t, 1 - beta2**t
    root, decayed = np.sqrt(new_v / second), p * (1 - lr * decay)
    step = lr * (new_m / first) / (root + eps)
    stale_step = lr * (m / first) / (np.sqrt(v / second) + eps)
    guesses = {
        "bias": decayed - lr * new_m / (np.sqrt(new_v) + eps),
        "half": decayed - lr * (new_m / first) / (np.sqrt(new_v) + eps),
        "inside": decayed - lr * (new_m / first) / np.sqrt(new_v / second + eps),
        "old": decayed - stale_step,
        "whole": p * (1 - decay) - step,
        "undecayed": p - step,
    }
    name_mistake(results[0], decayed - step, guesses)
    expect.close(results[0], torch.tensor(decayed - step), f"{call}[0]")


def name_mistake(got, want, guesses: dict) -> None:
    """Raise `Failed` if the answer is a known mistake."""
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` reports it
    values = expect.numbers(got, "adamw_step(...)")
    close = {"rtol": 1e-5, "atol": 1e-5 * np.abs(want).max()}
    if np.allclose(values, want, **close):
        return
    for key, guess in guesses.items():
        if np.allclose(values, guess, **close):
            raise Failed(key)
