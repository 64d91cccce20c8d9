# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Is A better than B? The mean paired difference with its 95 % interval."""

import math

from .. import expect
from ..problem import Problem

# 97.5 % points of Student's t, by degrees of freedom (any table has them)
T_975 = {
    2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646,
    8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788,
}  # fmt: skip


def check(answer, rng) -> None:
    expect.function(answer, "paired_difference")
    names = ("mean", "low", "high")
    for trial in range(10):
        n = {1: 3, 2: 13}.get(trial, int(rng.integers(4, 13)))  # the table's two ends
        seed_effect = rng.normal(0.9, 0.05, size=n)  # shared: why pairing pays
        a = seed_effect + rng.normal(-0.01 if trial % 2 else 0.01, 0.01, size=n)
        b = seed_effect + rng.normal(0, 0.01, size=n)
        if trial == 3:  # always the same difference: no width
            b = a - 1 / 64
        want = reference(a, b)
        got = expect.call(answer, a, b)
        got = expect.parts(got, 3, "paired_difference(a, b)")
        for name, value, right in zip(names, got, want, strict=True):
            # differences are about 0.01; the table and float32 are good to 1e-6
            expect.close(value, right, name, 1e-5)


def reference(a, b) -> tuple[float, float, float]:
    differences = [float(x - y) for x, y in zip(a, b, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    variance = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    half = T_975[n - 1] * math.sqrt(variance / n)
    return mean, mean - half, mean + half


HEAD = """import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
"""
BODY = """    d = a - b
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="paired_difference",
    version=2,
    lesson="attention_families",
    stage="basic",
    title={"en": "Is it really better?", "zh": "真的更好吗？"},
    prompt={
        "en": """Two networks are trained with the same `n` seeds: `a[i]` and `b[i]` are their accuracies with
seed `i` (numpy arrays). A seed that is lucky for one is often lucky for the other, so
compare *within* each seed.

Write `paired_difference(a, b)`: return the mean of the differences $d_i = a_i - b_i$ and
the two ends of its 95 % interval,

$$\\bar d \\pm t_{0.975,\\,n-1}\\; s_d / \\sqrt n,$$

with $s_d$ the sample standard deviation ($n - 1$ in the denominator), as `(mean, low,
high)`. The points of Student's t are given. If the interval holds 0, nothing is proved.""",
        "zh": """两个网络用相同的 `n` 个随机种子训练：`a[i]` 和 `b[i]` 是它们在种子 `i` 下的准确率（numpy 数组）。对一个网络走运的种子，往往对另一个也走运，所以要在*同一个种子内*比较。

请编写 `paired_difference(a, b)`：返回差值 $d_i = a_i - b_i$ 的平均值及其 95 % 置信区间的两端，

$$\\bar d \\pm t_{0.975,\\,n-1}\\; s_d / \\sqrt n,$$

其中 $s_d$ 是样本标准差（分母为 $n - 1$），结果写成 `(mean, low, high)`。t 分布的分位数已经给出。如果区间包含 0，就什么也没有证明。""",
    },
    starter=HEAD + "    ...\n",
    answer="paired_difference",
    hints=(
        {
            "en": "Subtract first; from there on there is only one sample, `d = a - b`.",
            "zh": "先相减；之后要处理的就只有一个样本 `d = a - b`。",
        },
        {
            "en": "`d.std(ddof=1)` divides by n − 1, and so do the degrees of freedom: "
            "`T_975[n - 1]`.",
            "zh": "`d.std(ddof=1)` 的分母是 n − 1，自由度也是 n − 1：`T_975[n - 1]`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "not paired": changed(
            "d.std(ddof=1)", "np.sqrt(a.var(ddof=1) + b.var(ddof=1))"
        ),
        "1.96, as if n were large": changed("T_975[n - 1]", "1.96"),
        "the population's standard deviation": changed("ddof=1", "ddof=0"),
        "n degrees of freedom": changed("T_975[n - 1]", "T_975[n]"),
        "the wrong way round": changed("a - b", "b - a"),
        "the sizes of the differences": changed("a - b", "np.abs(a - b)"),
        "the spread of one seed": changed(" / np.sqrt(n)", ""),
        "divided by n": changed("np.sqrt(n)", "n"),
        "subtracted in place": changed("d = a - b", "a -= b\n    d = a"),
    },
    right={
        "in plain Python": "import statistics\n"
        + HEAD
        + """    d = [float(x) - float(y) for x, y in zip(a, b)]
    mean = statistics.fmean(d)
    half = T_975[len(d) - 1] * statistics.stdev(d) / len(d) ** 0.5
    return [mean, mean - half, mean + half]
""",
        "PyTorch in float32": "import torch\n"
        + HEAD
        + """    d = torch.tensor(a).float() - torch.tensor(b).float()
    half = T_975[len(d) - 1] * d.std() / len(d) ** 0.5
    return d.mean() + half * torch.tensor([0.0, -1.0, 1.0])
""",
    },
    points=2,
    minutes=15,
)
