"""Compress full windows into entries, and tell from which token on they are visible."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "compress(content, gate, bias)"


def check(answer, rng) -> None:
    expect.function(answer, "compress")
    for i in range(6):
        rate, dim = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        if i == 1:
            rate, dim = 1, 1
        # the last window is either full or has only begun
        remainder = 0 if i < 2 else int(rng.integers(1, rate))
        tokens = rate * int(rng.integers(2, 6)) + remainder
        sizes = (tokens, dim), (tokens, dim), (rate, dim)
        inputs = [torch.from_numpy(rng.normal(size=s)).float() for s in sizes]
        got = expect.call(answer, *inputs)
        entries, seen = expect.parts(got, 2, CALL)
        compare(entries, seen, *(x.double().numpy() for x in inputs))


def reference(content, gate, bias, axis=1, biased=True):
    rate, dim = bias.shape
    count = len(content) // rate
    windows = content[: count * rate].reshape(count, rate, dim)
    gates = gate[: count * rate].reshape(count, rate, dim) + bias * biased
    weights = np.exp(gates - gates.max(axis, keepdims=True))
    return (windows * weights / weights.sum(axis, keepdims=True)).sum(1)


def compare(entries, seen, content, gate, bias) -> None:
    rate, count = len(bias), len(content) // len(bias)
    expect.tensor(entries, CALL + "[0]", torch.float32)
    if tuple(entries.shape) == (count + 1, bias.shape[1]):
        raise Failed("partial", full=count)
    want = reference(content, gate, bias)
    values = expect.shape(entries, want.shape, CALL + "[0]")
    mean = content[: count * rate].reshape(count, rate, -1).mean(1)
    guesses = {
        "mean": mean,
        "bias": reference(content, gate, bias, biased=False),
        "channels": reference(content, gate, bias, axis=2),
    }
    if not np.allclose(values, want, atol=1e-4):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-4):
                raise Failed(key)
    expect.close(entries, torch.from_numpy(want), CALL + "[0]", 1e-4)
    expect.tensor(seen, CALL + "[1]", torch.bool)
    mask = expect.shape(seen, (len(content), count), CALL + "[1]") != 0
    tokens, windows = np.arange(len(content))[:, None], np.arange(count)
    allowed = (windows + 1) * rate <= tokens + 1
    if (mask & ~allowed).any():
        t, w = (int(n) for n in np.argwhere(mask & ~allowed)[0])
        raise Failed("peeks", token=t, window=w, last=(w + 1) * rate - 1)
    if (mask != allowed).any():
        t, w = (int(n) for n in np.argwhere(mask != allowed)[0])
        raise Failed("late", token=t, window=w, last=(w + 1) * rate - 1)
