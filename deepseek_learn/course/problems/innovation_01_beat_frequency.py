# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A criterion of one's own, measured on fresh networks against frequency."""

import copy
import math
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ... import dpg
from ...machine import one_thread
from ...zoo.metrics import divergence
from .. import expect
from ..arguments import copied, same
from ..problem import Failed, Problem

NAME = "beat_frequency: the learner's"  # in the registry, while it is measured
WANTED = 0.6  # of frequency's KL
BITS = 3.0
NETWORKS = 4
WIDTH, INPUTS, CLASSES = 96, 32, 10


def check(answer, rng) -> None:
    expect.function(answer, "criterion")
    with one_thread():
        pairs = [measure(answer, rng) for _ in range(NETWORKS)]
    # the geometric mean: no single network decides
    mine, frequency = (
        math.exp(sum(map(math.log, kls)) / NETWORKS) for kls in zip(*pairs, strict=True)
    )
    if not mine <= WANTED * frequency:
        share = {"share": mine / frequency, "wanted": WANTED}
        raise Failed("beat_frequency.not_better", got=mine, want=frequency, **share)


def measure(answer, rng) -> tuple[float, float]:
    """KL at equal bytes by the learner's criterion and by frequency, on one network."""
    network, calibration_inputs, inputs = teacher(rng)
    calibration = dpg.calibrate(network, calibration_inputs.split(64))
    with torch.inference_mode():
        reference = network(inputs)
    found = []
    for name in (NAME, "frequency"):
        with registered(answer):
            # copies: whatever the answer does to its layer, the network stays
            allocation = dpg.allocate(
                copy.deepcopy(network), copy.deepcopy(calibration), BITS, name
            )
        rounded = dpg.simulate(network, allocation, calibration)
        with torch.inference_mode():
            found.append(divergence(rounded(inputs), reference).mean().item())
    return found[0], found[1]


def teacher(rng) -> tuple[nn.Module, Tensor, Tensor]:
    """A random network whose neurons count unequally, and inputs for it."""

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    network = nn.Sequential(
        nn.Linear(INPUTS, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, CLASSES),
    )
    with torch.no_grad():
        for layer in network[::2]:
            columns = layer.in_features
            scale = 1.4 / math.sqrt(columns)
            layer.weight.copy_(scale * draw(layer.out_features, columns))
            layer.bias.copy_(0.5 * draw(layer.out_features))
        for reader in network[2::2]:  # how strongly each neuron is read
            strength = draw(WIDTH).exp()
            reader.weight.mul_(strength / strength.square().mean().sqrt())
        network[-1].weight.mul_(2.0)
    inputs = draw(1024, INPUTS)
    return network, inputs[:256], inputs[256:]


@contextmanager
def registered(answer):
    """The answer under NAME in `dpg.grouping`, its values checked."""

    def judged(layer: dpg.Layer) -> Tensor:
        before = copied(tensors(layer))
        got = expect.call(answer, layer)
        for name, value in tensors(layer).items():
            if not same(value, before[name]):
                raise Failed("expect.in_place", argument=f"layer.{name}")
        return checked(got, layer)

    dpg.grouping.register(NAME)(judged)
    try:
        yield
    finally:
        dpg.grouping.unregister(NAME)


def tensors(layer: dpg.Layer) -> dict[str, Tensor]:
    """What the answer may read and not change."""
    seen = layer.statistics
    statistics = {f"statistics.{name}": value for name, value in vars(seen).items()}
    found = {"weight": layer.weight, "errors": layer.errors} | statistics
    return {name: each for name, each in found.items() if isinstance(each, Tensor)}


def checked(got, layer: dpg.Layer) -> Tensor:
    expect.tensor(got, "criterion(layer)")
    values = torch.from_numpy(expect.numbers(got, "criterion(layer)"))
    rows, levels = len(layer.weight), len(layer.levels)
    shape = list(values.shape)
    if shape not in ([rows], [levels, rows]):
        raise Failed("beat_frequency.shape", got=shape, rows=rows, levels=levels)
    if not (torch.isfinite(values) & (values >= 0)).all():
        raise Failed("beat_frequency.values", layer=layer.name)
    return values


HEAD = """import torch

from deepseek_learn import dpg


def criterion(layer):
"""

problem = Problem(
    id="beat_frequency",
    version=2,
    lesson="grouping_strategies",
    stage="innovation",
    title={"en": "Beat frequency", "zh": "胜过激活频率"},
    prompt={
        "en": """Invent a grouping strategy. Write `criterion(layer)`; it gets what the library's own criteria
get: `layer.weight` `[N, K]`, `layer.statistics.second_moment` `[K, K]`,
`layer.statistics.gradient` `[N]` (squared), `layer.statistics.frequency` `[N]`, `layer.levels`
and `layer.errors` `[levels, N]`, the rounding error of each row at each level. Return a
tensor of numbers of at least 0: an importance of each row `[N]`, or the damage at each level `[levels, N]`.

The check makes four fresh random networks whose neurons count unequally, lets
`dpg.allocate` spend 3 bits a weight by your criterion and by `"frequency"`, and compares
the KL divergence on fresh inputs: yours must be at most **0.6 times** frequency's.""",
        "zh": """请发明一种分组策略。编写 `criterion(layer)`，它得到的信息与库内置准则相同：`layer.weight` `[N, K]`、`layer.statistics.second_moment` `[K, K]`、`layer.statistics.gradient` `[N]`（已平方）、`layer.statistics.frequency` `[N]`、`layer.levels`，以及 `layer.errors` `[levels, N]`，即每一行在每种位数下的舍入误差。返回一个张量，其中的数都不小于 0：每一行的重要性 `[N]`，或每种位数下的损害 `[levels, N]`。

检查会生成四个全新的随机网络，其中各神经元的重要程度不同；再让 `dpg.allocate` 分别按你的准则和 `"frequency"` 分配平均每个权重 3 位，并在全新的输入上比较 KL 散度：你的结果最多只能是激活频率的 **0.6 倍**。""",
    },
    starter=HEAD + "    ...\n",
    answer="criterion",
    hints=(
        {
            "en": "In the lesson, damage has several factors, and frequency is inside "
            "one of them. What does a row's output do to the answer, and how far does "
            "rounding move it?",
            "zh": "课文里的损害由几个因子相乘，激活频率只藏在其中一个里面。这一行的输出对模型的回答有多大影响？舍入又使它移动了多远？",
        },
        {
            "en": "`layer.statistics.gradient` holds $g_j^2$ and contains the frequency "
            "already. Multiply it by something that says how large the error is.",
            "zh": "`layer.statistics.gradient` 存放 $g_j^2$，其中已经包含激活频率。把它乘上一个能说明误差大小的量。",
        },
    ),
    check=check,
    kind="graded",
    wrong={
        "frequency": HEAD + "    return layer.statistics.frequency\n",
        "the least active first": HEAD + "    return 1 - layer.statistics.frequency\n",
        "random": HEAD + "    return torch.rand(len(layer.weight))\n",
        "constant": HEAD + "    return torch.ones(len(layer.weight))\n",
        "magnitude": HEAD + "    return layer.weight.square().mean(1)\n",
        "the error without the gradient": HEAD + "    return layer.errors\n",
        "the importance of the rarely read": HEAD
        + "    return layer.errors / (layer.statistics.gradient + 1e-9)\n",
        "a list": HEAD + "    return layer.statistics.frequency.tolist()\n",
        "one number for the layer": HEAD
        + "    return layer.statistics.gradient.sum()\n",
        "not a number": HEAD + "    return (-layer.statistics.gradient).sqrt()\n",
    },
    points=4,
    minutes=40,
)
