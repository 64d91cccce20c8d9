# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Which parameters are matrices: shape alone does not tell."""

import torch
from torch import nn

from .. import expect
from ..problem import Failed, Problem


class Mixer(nn.Module):
    """Bare parameters, as many models have them."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))
        self.gain = nn.Parameter(torch.empty(()))


def check(answer, rng) -> None:
    expect.function(answer, "role")
    with torch.device("meta"):  # shapes are enough; the learner's seed stays as it is
        cases = [case for _ in range(2) for case in table(*rng.integers(2, 9, 2))]
    for i in rng.permutation(len(cases)):
        want, why, module, made, name, head = cases[i]
        parameter = getattr(module, name)
        got = expect.call(answer, parameter, module, head)
        what = f"{made}.{name} {list(parameter.shape)}"
        what += ", head=True" if head else ""
        if not isinstance(got, str) or got not in ("matrix", "adamw"):
            said = repr(got) if isinstance(got, str) else type(got).__name__
            raise Failed("whose_rule.name", got=said, what=what)
        if got != want:
            raise Failed(f"whose_rule.{why}", what=what)


def table(m: int, n: int) -> list[tuple]:
    """Role, reason, module, its code, the parameter's name, is it the head."""
    m, n = int(m), int(n)
    cases = []

    def add(role, why, kind, *args, name="weight", head=False, **options) -> None:
        said = ", ".join(map(str, args)) + "".join(
            f", {k}={v}" for k, v in options.items()
        )
        made = f"{'' if kind is Mixer else 'nn.'}{kind.__name__}({said})"
        cases.append((role, why, kind(*args, **options), made, name, head))

    add("matrix", "matrix", nn.Linear, m, n)
    add("adamw", "vector", nn.Linear, m, n, name="bias")
    add("adamw", "head", nn.Linear, m, n, head=True)
    add("adamw", "vector", nn.Linear, m, n, name="bias", head=True)
    add("adamw", "vector", nn.Linear, m, 1)
    add("adamw", "vector", nn.Linear, 1, n)
    add("adamw", "vector", nn.Linear, 1, n + 3)
    add("matrix", "matrix", nn.Linear, 2, n)
    add("matrix", "matrix", nn.Linear, m, 2)
    add("matrix", "matrix", nn.Conv1d, m, n, 3)
    add("matrix", "matrix", nn.Conv2d, m, n, 3)
    add("matrix", "matrix", nn.Conv2d, m, n, 1)
    add("matrix", "matrix", nn.Conv2d, 1, n, 3)
    add("matrix", "matrix", nn.Conv3d, m, n, 2)
    add("matrix", "matrix", nn.ConvTranspose2d, m, n, 2)
    add("adamw", "vector", nn.Conv2d, m, n, 3, name="bias")
    add("adamw", "vector", nn.Conv2d, 1, 1, 1)
    add("adamw", "vector", nn.Conv2d, m, 1, 3)
    add("adamw", "vector", nn.Conv1d, 1, n, 1)
    add("adamw", "head", nn.Conv2d, m, n, 1, head=True)
    add("adamw", "grouped", nn.Conv2d, 4 * m, 4 * m, 3, groups=4 * m)
    add("adamw", "grouped", nn.Conv2d, 2 * m, 2 * n, 3, groups=2)
    add("adamw", "grouped", nn.Conv1d, 2 * m, 2 * n, 5, groups=2)
    add("adamw", "grouped", nn.ConvTranspose2d, 2 * m, 2 * n, 2, groups=2)
    add("adamw", "embedding", nn.Embedding, m, n)
    add("adamw", "embedding", nn.EmbeddingBag, m, n)
    add("adamw", "vector", nn.LayerNorm, n)
    add("adamw", "vector", nn.BatchNorm2d, n, name="bias")
    add("adamw", "vector", nn.PReLU)
    add("matrix", "matrix", nn.MultiheadAttention, 2 * m, 2, name="in_proj_weight")
    add("adamw", "vector", nn.MultiheadAttention, 2 * m, 2, name="in_proj_bias")
    add("matrix", "matrix", nn.GRU, m, n, name="weight_hh_l0")
    add("matrix", "matrix", Mixer, m, n)
    add("adamw", "vector", Mixer, m, n, name="gain")
    return cases


HEAD = "from torch import nn\n\n\ndef role(parameter, module, head):\n"
BODY = """    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="whose_rule",
    version=1,
    lesson="deepopt",
    stage="basic",
    title={"en": "Whose rule?", "zh": "归哪条规则管？"},
    prompt={
        "en": """DeepOpt has two rules, and each parameter must get the right one. Write `role(parameter, module, head)`; it returns
`"matrix"` or `"adamw"`. `module` is the module that owns the parameter directly, and `head` is True for the parameters of the
model's last layer.

A parameter is seen as a matrix: its first axis by all others, so that a kernel `[out, in, k, k]` is `[out, in * k * k]`.

- `"adamw"`: everything of the head; the tables of `nn.Embedding` and `nn.EmbeddingBag`; kernels of convolutions with
  `groups` above 1, depthwise or not (each group is a small matrix of its own); vectors and single numbers; and any matrix
  with a side below 2, for it is a vector too.
- `"matrix"`: all others: weights of linear layers and of convolutions (transposed ones as well), fused projections, and
  matrices that a module holds as a bare parameter.""",
        "zh": """DeepOpt 有两条规则，每个参数都要交给合适的那一条。请编写 `role(parameter, module, head)`，返回 `"matrix"` 或 `"adamw"`。`module` 是直接拥有该参数的模块；对模型最后一层的参数，`head` 为 True。

参数被看作一个矩阵：第一个轴为一边，其余各轴合为另一边，因此卷积核 `[out, in, k, k]` 就是 `[out, in * k * k]`。

- `"adamw"`：最后一层的所有参数；`nn.Embedding` 和 `nn.EmbeddingBag` 的表；`groups` 大于 1 的卷积的核，无论是否逐通道（每一组自成一个小矩阵）；向量和单个数；以及有一边小于 2 的矩阵，因为它其实也是向量。
- `"matrix"`：其余全部：线性层和卷积（包括转置卷积）的权重、合并的投影，以及模块直接持有的矩阵参数。""",
    },
    starter=HEAD + "    ...\n",
    answer="role",
    hints=(
        {
            "en": "Ask first what the module is: `isinstance(module, (nn.Embedding, nn.EmbeddingBag))`. Only convolutions have "
            '`groups`: `getattr(module, "groups", 1)`.',
            "zh": '先问模块是什么：`isinstance(module, (nn.Embedding, nn.EmbeddingBag))`。只有卷积才有 `groups`：`getattr(module, "groups", 1)`。',
        },
        {
            "en": "What is left is decided by the shape, of the matrix and not of the kernel: a 1 × 1 convolution `[8, 4, 1, 1]` is a "
            "matrix `[8, 4]`. `parameter.flatten(1).shape` gives it, for two axes or more.",
            "zh": "剩下的由形状决定，而且是矩阵的形状，不是卷积核的形状：1 × 1 卷积 `[8, 4, 1, 1]` 是矩阵 `[8, 4]`。有两个或更多轴时，`parameter.flatten(1).shape` 就是矩阵的形状。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "by shape alone": HEAD
        + '    return "matrix" if parameter.dim() > 1 else "adamw"\n',
        "the head forgotten": changed("head or ", ""),
        "embeddings forgotten": changed(
            "head or isinstance(module, (nn.Embedding, nn.EmbeddingBag))", "head"
        ),
        "bags of embeddings forgotten": changed(
            "(nn.Embedding, nn.EmbeddingBag)", "nn.Embedding"
        ),
        "groups forgotten": changed('getattr(module, "groups", 1) > 1', "False"),
        "depthwise only": changed(
            'getattr(module, "groups", 1) > 1',
            'getattr(module, "groups", 1) == getattr(module, "in_channels", 0)',
        ),
        "a matrix of one row": changed(" or min(parameter.flatten(1).shape) < 2", ""),
        "a side of two": changed("(1).shape) < 2", "(1).shape) < 3"),
        "rows and number of weights": changed(
            "min(parameter.flatten(1).shape) < 2",
            "parameter.shape[0] < 2 or parameter.numel() < 4",
        ),
        "the sides of the kernel": changed(
            "min(parameter.flatten(1).shape)", "min(parameter.shape)"
        ),
        "the input's channels for a side": changed(
            "min(parameter.flatten(1).shape)", "min(parameter.shape[:2])"
        ),
        "linear layers only": changed(
            'getattr(module, "groups", 1) > 1', "not isinstance(module, nn.Linear)"
        ),
        "linear layers and convolutions only": changed(
            'return "matrix"',
            'kinds = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d\n    return "matrix" if isinstance(module, kinds) else "adamw"',
        ),
        "the answer as True": HEAD + "    return parameter.dim() > 1\n",
    },
    points=2,
    minutes=15,
)
