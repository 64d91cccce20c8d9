"""The constant that scales a gate's initial mean gain to one."""

import torch
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


class Gate(nn.Module):
    """An input-dependent gate: `x * dropout(sigmoid(slope * x + bias))`."""

    def __init__(self, slope: float, bias: float):
        super().__init__()
        self.slope, self.bias, self.drop = slope, bias, nn.Dropout(0.5)

    def forward(self, x):
        return x * self.drop(torch.sigmoid(self.slope * x + self.bias))


def check(answer, rng) -> None:
    expect.function(answer, "unit_gain")
    for trial in range(10):
        module = Gate(float(rng.uniform(-4, -2)), float(rng.uniform(-1, 3)))
        module.train(trial % 3 < 2)  # in training mode, or already in evaluation mode
        size = (1, 1, 1, 1) if trial == 3 else rng.integers(2, 9, size=4)
        x = torch.from_numpy(rng.uniform(0.2, 2.0, size=size)).float()
        gate = torch.sigmoid(module.slope * x.double() + module.bias)
        got = expect.call(answer, module, x)
        gain = expect.shape(got, (), "unit_gain(module, x)")  # one number
        factor = float(gain) * gate.mean().item()
        if not abs(factor - 1) < 1e-4:
            facts = {"gain": float(gain), "got": factor}
            raise Failed("mean_factor", **facts)
