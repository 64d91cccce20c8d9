"""Take one step of balancing without an auxiliary loss; measure the load violation."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "steer(bias, chosen, rate)"


def check(answer, rng) -> None:
    expect.function(answer, "steer")
    for i in range(6):
        experts, top = int(rng.integers(4, 12)), int(rng.integers(1, 4))
        tokens = experts * int(rng.integers(3, 7))
        skew = rng.uniform(0.1, 1, size=experts) ** 3
        chosen = np.stack(
            [
                rng.choice(experts, top, replace=False, p=skew / skew.sum())
                for _ in range(tokens)
            ]
        )
        if i == 0:  # an even load, and an expert that nobody chose
            chosen = np.arange(tokens)[:, None] % experts
        if i == 1:  # the expert that nobody chose is farthest from the mean
            chosen = np.arange(tokens)[:, None] % (experts - 1)
        if i == 2:  # one expert below the mean, one above, the others exactly at it
            chosen = np.arange(tokens)[:, None] % experts
            chosen[0] = 1
        if i == 3:  # a fractional mean, just above most loads
            chosen = np.arange(experts + 1)[:, None] % experts
        if i == 4:  # an even load by the first column alone
            first = np.arange(tokens) % experts
            chosen = np.stack([first, np.where(first == 0, 1, 0)], 1)
        bias, rate = rng.normal(size=experts), float(rng.uniform(0.001, 0.1))
        inputs = torch.from_numpy(bias).float(), torch.from_numpy(chosen)
        got = expect.call(answer, *inputs, rate)
        new, violation = expect.parts(got, 2, CALL)
        compare(new, violation, inputs[0].double().numpy(), chosen, rate)


def compare(new, violation, bias, chosen, rate) -> None:
    load = np.bincount(chosen.ravel(), minlength=len(bias)).astype(float)
    gap = load.mean() - load
    expect.tensor(new, CALL + "[0]", torch.float32)
    values = expect.shape(new, bias.shape, CALL + "[0]")
    guesses = {
        "up": bias - rate * np.sign(gap),
        "amount": bias + rate * gap,
        "share": bias + rate * gap / load.sum(),
        "mean": bias + rate * np.sign(len(chosen) / len(bias) - load),
    }
    if not np.allclose(values, bias + rate * np.sign(gap), atol=1e-5):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-5):
                raise Failed(key)
    expect.close(new, torch.from_numpy(bias + rate * np.sign(gap)), CALL + "[0]", 1e-5)
    got = float(expect.shape(violation, (), CALL + "[1]"))
    want = load.max() / load.mean() - 1
    if abs(got - load.max() / load.mean()) < 1e-5 and load.min() > 0:
        raise Failed("one")
    expect.close(got, want, CALL + "[1]", 1e-5)
