# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""What rounding a row costs the model's answer: Fisher information x rounding error."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "damage_of_rounding")
    # one row, one column, and sizes that a transposed product would not survive
    sizes = [(1, 5), (6, 1)] + [tuple(rng.integers(2, 12, 2)) for _ in range(6)]
    for rows, columns in sizes:
        weight = rng.normal(size=(rows, columns))
        step = rng.uniform(0.2, 0.8)
        rounded = np.round(weight / step) * step
        if rows > 1:
            rounded[-1] = weight[-1]  # a row that rounding leaves as it is
        inputs = rng.normal(size=(20, columns)) @ rng.normal(size=(columns, columns))
        inputs += rng.normal(size=columns)  # neither independent nor around zero
        H = inputs.T @ inputs / len(inputs)
        gradient = rng.lognormal(0, 1.5, size=rows)
        given = [torch.from_numpy(a) for a in (weight, rounded, H, gradient)]
        got = expect.call(answer, *given)
        want = torch.tensor(reference(weight, rounded, inputs, gradient))
        recognise(got, weight - rounded, H, gradient, want)
        expect.close(got, want, "damage_of_rounding(...)", 1e-5)


def reference(weight, rounded, inputs, gradient) -> list[float]:
    """By the definition: the mean over inputs of the squared change of the output."""
    damage = []
    for w, r, g in zip(weight, rounded, gradient, strict=True):
        changes = [sum((w - r) * x) ** 2 for x in inputs]
        damage.append(float(g * sum(changes) / len(changes)))
    return damage


def recognise(got, change, H, gradient, want) -> None:
    """Say so where the answer is one of three known mistakes."""
    full = ((change @ H) * change).sum(1)
    mistakes = {
        "alone": gradient * (change**2 * H.diagonal()).sum(1),
        "squared": gradient**2 * full,
        "no_gradient": full,
    }
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` says it
    values = expect.numbers(got, "damage_of_rounding(...)")
    if np.allclose(values, want, rtol=1e-5):
        return
    for name, mistake in mistakes.items():
        if np.allclose(values, mistake, rtol=1e-6):
            raise Failed(f"damage_of_rounding.{name}")


HEAD = """import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
"""
BODY = """    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient * error
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="damage_of_rounding",
    version=1,
    lesson="grouping_strategies",
    stage="innovation",
    title={"en": "The damage of rounding a row", "zh": "舍入一行造成的损害"},
    prompt={
        "en": """Row $j$ of a layer's weight is rounded and changes by $\\delta_j$. How much worse does the
model's answer get? In the lesson's derivation there are two factors: how strongly the answer
depends on the row's output, and how far rounding moves that output:

$$ \\mathrm{damage}_j = g_j^2 \\; \\delta_j H \\delta_j^\\top, \\qquad H = E[x x^\\top]. $$

Write `damage_of_rounding(weight, rounded, second_moment, gradient)` for tensors `weight`
and `rounded` `[N, K]`, `second_moment` $H$ `[K, K]` and `gradient` `[N]`, which already
holds the **squared** gradients $g_j^2$. Return the damage of each row, `[N]`.""",
        "zh": """某层权重的第 $j$ 行被舍入后，变化量为 $\\delta_j$。模型的输出会变差多少？按照课文的推导，它是两个因子的乘积：输出对这一行的依赖有多强，以及舍入使这一行的输出移动了多远：

$$ \\mathrm{damage}_j = g_j^2 \\; \\delta_j H \\delta_j^\\top, \\qquad H = E[x x^\\top]. $$

请编写 `damage_of_rounding(weight, rounded, second_moment, gradient)`，其中张量 `weight` 和 `rounded` 为 `[N, K]`，`second_moment`（即 $H$）为 `[K, K]`，`gradient` 为 `[N]`，里面存放的已经是梯度的**平方** $g_j^2$。返回每一行的损害，形状为 `[N]`。""",
    },
    starter=HEAD + "    ...\n",
    answer="damage_of_rounding",
    hints=(
        {
            "en": "Begin with one row: `delta = weight[j] - rounded[j]`, then "
            "`delta @ second_moment @ delta` is its error.",
            "zh": "先写一行：`delta = weight[j] - rounded[j]`，这一行的误差就是 `delta @ second_moment @ delta`。",
        },
        {
            "en": "For all rows at once multiply `change @ second_moment` by `change` "
            "element by element and add up each row.",
            "zh": "要一次算完所有行：把 `change @ second_moment` 与 `change` 逐元素相乘，再对每一行求和。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "each weight's error counted alone": changed(
            "((change @ second_moment) * change)",
            "(change**2 * second_moment.diagonal())",
        ),
        "the gradient squared once more": changed("gradient *", "gradient**2 *"),
        "the gradient forgotten": changed("gradient * error", "error"),
        "the weight instead of its change": changed("weight - rounded", "weight"),
        "added up over the layer": changed("gradient * error", "gradient @ error"),
        "the error's root": changed("gradient * error", "gradient * error.sqrt()"),
    },
    right={
        "row by row, in float32": HEAD
        + """    damage = []
    for w, r, g in zip(weight.float(), rounded.float(), gradient.float()):
        change = w - r
        damage.append(g * torch.einsum("k,kl,l->", change, second_moment.float(), change))
    return torch.stack(damage)
""",
    },
    points=2,
    minutes=15,
)
