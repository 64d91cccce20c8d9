# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""An update rule of one's own for weight matrices, against AdamW tuned alike."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import data
from ...errors import MissingPackageError
from ...machine import one_thread
from .. import expect
from ..problem import Failed, Problem

WANTED = 0.6  # of AdamW's test loss
NETWORKS = 4
STEPS, BATCH = 40, 128
SIZES = 64, 96, 96, 10
RATES = (0.03, 0.1, 0.3)
RMS = 0.2  # of an update, as a share of the rate
ADAMW = (0.02, 0.06, 0.18)  # its best rate here is 0.04 to 0.08
REST = 0.003  # the rate of biases and head, AdamW's
CALL = "direction(g, state, t)"


def check(answer, rng) -> None:
    expect.function(answer, "direction")
    try:
        digits = data.digits()
    except MissingPackageError as error:
        raise Failed("your_own_rule.missing", error=str(error)) from None
    parts = [flat(part) for part in (digits.train, digits.validation, digits.test)]
    starts = [start(rng, len(parts[0][0])) for _ in range(NETWORKS)]
    with one_thread():
        mine, rate = tuned(answer, RATES, starts, parts)
        theirs, _ = tuned(None, ADAMW, starts, parts)
    if not mine <= WANTED * theirs:
        share = {"share": mine / theirs, "wanted": WANTED, "rate": rate}
        raise Failed("your_own_rule.not_better", got=mine, want=theirs, **share)


def flat(part) -> tuple[Tensor, Tensor]:
    pictures, labels = part.batch()
    return pictures.flatten(1), labels


def start(rng, pictures: int) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters of a fresh network, and the rows of each batch."""
    parameters = []
    for columns, rows in pairwise(SIZES):
        for shape in ((rows, columns), (rows,)):
            values = rng.uniform(-1, 1, shape) / math.sqrt(columns)
            parameters.append(torch.from_numpy(values).float())
    rounds = -(-STEPS * BATCH // pictures)
    order = np.concatenate([rng.permutation(pictures) for _ in range(rounds)])
    return parameters, list(torch.from_numpy(order).split(BATCH)[:STEPS])


def tuned(answer, rates, starts, parts) -> tuple[float, float]:
    """The test loss at the rate that is best in validation, and that rate.

    Losses are geometric means over the networks. Without an answer, AdamW's.
    """
    losses = {}
    for rate in rates:
        each = [train(answer, rate, *begin, parts) for begin in starts]
        losses[rate] = [
            math.exp(sum(logs) / len(logs)) for logs in zip(*each, strict=True)
        ]
    best = min(rates, key=lambda rate: losses[rate][0])
    return losses[best][1], best


def train(answer, rate: float, parameters, batches, parts) -> tuple[float, float]:
    """The logarithms of the validation and the test loss after a run."""
    model = network(parameters)
    matrices = [model[0].weight, model[2].weight]
    kept: list[dict] = [{} for _ in matrices]
    rest = [p for p in model.parameters() if all(p is not w for w in matrices)]
    groups = [{"params": rest, "peak": REST}]
    if answer is None:
        groups.append({"params": matrices, "peak": rate})
    adamw = torch.optim.AdamW(groups)
    pictures, labels = parts[0]
    for t, rows in enumerate(batches, 1):
        left = 1 - (t - 1) / STEPS  # the rate falls in a line
        loss = F.cross_entropy(model(pictures[rows]), labels[rows])
        model.zero_grad()
        loss.backward()
        for group in adamw.param_groups:
            group["lr"] = group["peak"] * left
        adamw.step()
        if answer is None:
            continue
        with torch.no_grad():
            for w, state in zip(matrices, kept, strict=True):
                w -= RMS * rate * left * asked(answer, w.grad, state, t)
    with torch.no_grad():
        values = [F.cross_entropy(model(x), y).item() for x, y in parts[1:]]
    return math.log(values[0]), math.log(values[1])


def network(parameters) -> nn.Sequential:
    with torch.device("meta"):  # the learner's seed stays as it is
        layers = [nn.Linear(*pair) for pair in pairwise(SIZES)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    names = [name for name, _ in model.named_parameters()]
    values = {n: p.clone() for n, p in zip(names, parameters, strict=True)}
    model.load_state_dict(values, assign=True)
    return model.requires_grad_()


def asked(answer, g: Tensor, state: dict, t: int) -> Tensor:
    """The learner's direction with a root mean square of one; zeros stay zeros."""
    got = expect.call(answer, g, expect.may_change(state), t)
    expect.tensor(got, CALL)
    values = torch.from_numpy(expect.shape(got, g.shape, CALL))
    size = values.square().mean().sqrt()
    if not torch.isfinite(size):
        raise Failed("your_own_rule.values", step=t)
    return (values / size.clamp_min(1e-30)).float()


START = "import torch\n\nfrom deepseek_learn import optim\n\n\n"
HEAD = START + "def direction(g, state, t):\n"
MOMENTUM = """    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
"""
AHEAD = MOMENTUM + "    ahead = torch.lerp(g, momentum, 0.8)\n"

problem = Problem(
    id="your_own_rule",
    version=1,
    lesson="beat_deepopt",
    stage="innovation",
    title={"en": "Your own update rule", "zh": "自己的更新规则"},
    prompt={
        "en": """Invent an update rule for weight matrices. Write `direction(g, state, t)`: `g` is the gradient of one matrix `[m, n]` (float32), `t`
the step, counted from 1, and `state` a dict that starts empty and is yours: one for each matrix, kept from step to step.
Return a direction `[m, n]`. Its length does not matter; the check does

    w -= lr * 0.2 * direction / rms(direction)

with `lr` falling in a line to zero over the run. The check makes four fresh networks (64 → 96 → 96 → 10) and trains each for
**40 steps** of 128 pictures of `data.digits()`: the two hidden matrices by your rule at `lr` 0.03, 0.1 and 0.3, biases and head
by AdamW at a fixed rate. Then all again from the same start and with the same batches, the matrices by AdamW as well, at 0.02,
0.06 and 0.18 (its best rate here lies among them). For both, the validation part chooses the rate and the test part is
compared: your loss must be at most **0.6 times** AdamW's (geometric mean over the networks).""",
        "zh": """请为权重矩阵发明一条更新规则。编写 `direction(g, state, t)`：`g` 是某个矩阵的梯度 `[m, n]`（float32），`t` 是步数（从 1 数起），`state` 是一个开始为空、由你支配的字典：每个矩阵一个，逐步保留。返回方向 `[m, n]`。它的长度无关紧要；检查会执行

    w -= lr * 0.2 * direction / rms(direction)

其中 `lr` 在训练过程中线性降到零。检查会生成四个全新的网络（64 → 96 → 96 → 10），每个用 `data.digits()` 的图片训练 **40 步**，每步 128 张：两个隐藏层矩阵用你的规则，`lr` 取 0.03、0.1 和 0.3；偏置和最后一层用学习率固定的 AdamW。然后从相同的起点、用相同的批次全部重来一遍，矩阵也用 AdamW，学习率取 0.02、0.06 和 0.18（它在这里的最佳学习率就在其中）。双方都由验证部分选学习率，用测试部分比较：你的损失最多只能是 AdamW 的 **0.6 倍**（各网络的几何平均）。""",
    },
    starter=HEAD + "    ...\n",
    answer="direction",
    hints=(
        {
            "en": "The singular values of a gradient differ by orders of magnitude, so that a step along it moves in a few directions "
            "only. What if all directions moved equally far? `optim.orthogonalise(x)` does that.",
            "zh": "梯度的奇异值相差几个数量级，所以沿梯度走一步，只在少数几个方向上移动。如果所有方向都移动同样远呢？`optim.orthogonalise(x)` 做的就是这件事。",
        },
        {
            "en": 'Average first, then orthogonalise: `state.setdefault("momentum", torch.zeros_like(g))`. In a run of 40 steps an '
            "average over the last five or so (a momentum of 0.8) is long enough.",
            "zh": '先平均，再正交化：`state.setdefault("momentum", torch.zeros_like(g))`。总共只有 40 步，对最近五步左右取平均（动量 0.8）就够长了。',
        },
        {
            "en": "Then try what DeepOpt does besides: look ahead with `torch.lerp(g, momentum, 0.8)`, or `optim.balance`. Or an idea of "
            "your own: it is a question of minutes.",
            "zh": "然后试试 DeepOpt 的其他做法：用 `torch.lerp(g, momentum, 0.8)` 向前看一步，或者 `optim.balance`。也可以试你自己的想法：几分钟就有结果。",
        },
    ),
    check=check,
    solution=HEAD + AHEAD + "    return optim.orthogonalise(ahead)\n",
    wrong={
        "the gradient": HEAD + "    return g\n",
        "momentum": HEAD + MOMENTUM + "    return momentum\n",
        "Nesterov's momentum": HEAD + AHEAD + "    return ahead\n",
        "the sign of the gradient": HEAD + "    return g.sign()\n",
        "the sign of the momentum": HEAD + AHEAD + "    return ahead.sign()\n",
        "Adam, element by element": HEAD
        + MOMENTUM
        + """    square = state.setdefault("square", torch.zeros_like(g))
    square.lerp_(g.square(), 0.05)
    return momentum / (1 - 0.8**t) / ((square / (1 - 0.95**t)).sqrt() + 1e-8)
""",
        "in place": HEAD
        + MOMENTUM
        + "    return optim.orthogonalise(g.lerp_(momentum, 0.8))\n",
        "uphill": HEAD + AHEAD + "    return -optim.orthogonalise(ahead)\n",
        "random": HEAD + "    return optim.orthogonalise(torch.randn_like(g))\n",
        "zeros": HEAD + "    return torch.zeros_like(g)\n",
        "not a number": HEAD + "    return (g / g.norm()).log()\n",
        "transposed": HEAD + AHEAD + "    return optim.orthogonalise(ahead).T\n",
    },
    points=4,
    minutes=40,
    needs=("vision",),
)
