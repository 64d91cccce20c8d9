# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The constant that brings a gate's initial mean factor to one."""

import torch
from torch import nn

from .. import expect
from ..problem import Failed, Problem


class Gate(nn.Module):
    """`x * sigmoid(slope * x + bias)`, dropped out: a gate that follows its input."""

    def __init__(self, slope: float, bias: float):
        super().__init__()
        self.slope, self.bias, self.drop = slope, bias, nn.Dropout(0.5)

    def forward(self, x):
        return x * self.drop(torch.sigmoid(self.slope * x + self.bias))


def check(answer, rng) -> None:
    expect.function(answer, "unit_gain")
    for trial in range(10):
        module = Gate(float(rng.uniform(-4, -2)), float(rng.uniform(-1, 3)))
        module.train(trial % 3 < 2)  # as it comes, or in evaluation mode already
        size = (1, 1, 1, 1) if trial == 3 else rng.integers(2, 9, size=4)
        x = torch.from_numpy(rng.uniform(0.2, 2.0, size=size)).float()
        gate = torch.sigmoid(module.slope * x.double() + module.bias)
        got = expect.call(answer, module, x)
        gain = expect.shape(got, (), "unit_gain(module, x)")  # one number
        factor = float(gain) * gate.mean().item()
        if not abs(factor - 1) < 1e-4:
            facts = {"gain": float(gain), "got": factor}
            raise Failed("match_the_scale.mean_factor", **facts)


HEAD = "import torch\n\n\ndef unit_gain(module, x):\n"
MEASURE = "    module.eval()\n    with torch.no_grad():\n        y = module(x)\n"

problem = Problem(
    id="match_the_scale",
    version=2,
    lesson="attention_families",
    stage="basic",
    title={"en": "Match the scale", "zh": "对齐初始尺度"},
    prompt={
        "en": """A module with one sigmoid gate starts by halving its input; one with two gates in a row
leaves a quarter. Compare such modules as they are and you compare these factors.

Write `unit_gain(module, x)`: measure the module on the random input `x` (all positive) in
evaluation mode, and return the one number `gain` for which the mean over all elements of
`gain * module(x) / x` is 1.""",
        "zh": """只有一个 sigmoid 门控的模块，一开始就把输入减半；两个门控串联时只剩四分之一。直接比较这样的模块，比的其实是这些系数。

请编写 `unit_gain(module, x)`：在评估模式下用随机输入 `x`（全为正数）测量模块，返回一个数 `gain`，使 `gain * module(x) / x` 对所有元素的平均值等于 1。""",
    },
    starter=HEAD + "    ...\n",
    answer="unit_gain",
    hints=(
        {
            "en": "Dropout changes the answer in training mode: `module.eval()` first, and "
            "`torch.no_grad()` since nothing is to be learned here.",
            "zh": "训练模式下的 dropout 会改变输出：先调用 `module.eval()`；这里不需要学习，所以用 `torch.no_grad()`。",
        },
        {
            "en": "The mean of a quotient is not the quotient of the means: divide "
            "element by element first, take the mean, then invert it.",
            "zh": "商的平均不等于平均的商：先逐元素相除，再求平均，最后取倒数。",
        },
    ),
    check=check,
    solution=HEAD + MEASURE + "    return 1 / (y / x).mean().item()\n",
    wrong={
        "the quotient of the means": HEAD
        + MEASURE
        + "    return (x.mean() / y.mean()).item()\n",
        "not inverted": HEAD + MEASURE + "    return (y / x).mean().item()\n",
        "rounded to bfloat16": HEAD
        + MEASURE
        + "    return 1 / (y / x).mean().bfloat16()\n",
        "not a number": HEAD + "    return float('nan')\n",
        "taken to be one half": HEAD + "    return 2.0\n",
        "measured in training mode": HEAD
        + MEASURE.replace("eval", "train")
        + "    return 1 / (y / x).mean().item()\n",
        "the mode left as it is": HEAD
        + MEASURE.replace("    module.eval()\n", "")
        + "    return 1 / (y / x).mean().item()\n",
        "the mean of the inverse": HEAD
        + MEASURE
        + "    return (x / y).mean().item()\n",
        "the median": HEAD + MEASURE + "    return 1 / (y / x).median().item()\n",
        "divided in place": HEAD
        + MEASURE
        + "    return 1 / x.reciprocal_().mul_(y).mean().item()\n",
    },
    right={
        "in float64, with its gradient": HEAD
        + """    module.train(False)
    x = x.double().requires_grad_()
    return (module(x) / x).mean() ** -1
""",
        "in NumPy, sample by sample": HEAD
        + """    module.eval()
    with torch.inference_mode():
        ratios = [(module(each[None]) / each).numpy().mean() for each in x]
    return len(x) / sum(ratios)
""",
    },
    points=1,
    minutes=10,
)
