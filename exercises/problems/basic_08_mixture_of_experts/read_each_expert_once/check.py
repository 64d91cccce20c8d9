"""Group the dispatch: each expert is called once, with all of its tokens."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "dispatch(x, chosen, weights, experts)"


def check(answer, rng) -> None:
    expect.function(answer, "dispatch")
    for i in range(5):
        count, top = int(rng.integers(4, 9)), int(rng.integers(1, 4))
        if i == 0:
            top = 3  # so that an expert is chosen in more than one slot
        tokens, width = int(rng.integers(12, 30)), int(rng.integers(3, 7))
        if i == 4:
            tokens = 1
        experts = [Expert(rng, width) for _ in range(count)]
        candidates = count - 1 if i % 2 else count  # sometimes the last is not chosen
        chosen = np.stack([rng.permutation(candidates)[:top] for _ in range(tokens)])
        weights = rng.uniform(0.1, 1, size=chosen.shape)
        weights[rng.random(chosen.shape) < 0.2] = 1e-6  # a small weight still counts
        weights[-1, -1] = 1e-6
        inputs = [
            torch.from_numpy(rng.normal(size=(tokens, width))).float(),
            torch.from_numpy(chosen),
            torch.from_numpy(weights).float(),
        ]
        got = expect.call(answer, *inputs, experts)
        calls = [each.calls for each in experts]
        compare(got, experts, *(x.numpy() for x in inputs))
        used = len(np.unique(chosen))
        if sum(calls) > used or max(calls) > 1:
            raise Failed("calls", calls=sum(calls), used=used)
        for e, each in enumerate(experts):
            if each.rows != (rows := int((chosen == e).sum())):
                facts = {"expert": e, "got": each.rows, "wanted": rows}
                raise Failed("rows", **facts)


class Expert:
    """A network `[n, d]` → `[n, d]` that counts its calls and its input rows."""

    def __init__(self, rng, width: int):
        self.weight = rng.normal(size=(width, width))
        self.calls = self.rows = 0

    def __call__(self, x):
        self.calls += 1
        if x.dim() != 2:
            raise ValueError(f"an expert takes [n, d]; got {list(x.shape)}")
        self.rows += len(x)
        return torch.tanh(x.double() @ torch.from_numpy(self.weight)).to(x.dtype)


def compare(got, experts, x, chosen, weights) -> None:
    want, plain, tokens = np.zeros(x.shape), np.zeros(x.shape), np.arange(len(x))
    for slot in range(chosen.shape[1]):
        for n in tokens:
            output = np.tanh(x[n].astype(float) @ experts[chosen[n, slot]].weight)
            want[n] += weights[n, slot] * output
            plain[n] += output
    expect.tensor(got, CALL, torch.float32)
    values = expect.shape(got, want.shape, CALL)
    if np.allclose(values, plain, atol=1e-4):
        raise Failed("weights")
    expect.close(got, torch.from_numpy(want), CALL, 1e-4)
