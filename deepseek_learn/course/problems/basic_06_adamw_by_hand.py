# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""One step of AdamW, element by element: what every rival is measured against."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

TIMES = (1, 1, 2, 5, 20, 1000)


def check(answer, rng) -> None:
    expect.function(answer, "adamw_step")
    for t in (*TIMES, *TIMES):
        arrays, options = draw(rng, t)
        given = [torch.from_numpy(a) for a in arrays]
        got = expect.call(answer, *given, t, *options)
        call = f"adamw_step(..., t={t})"
        found = expect.parts(got, 3, call)
        compare(found, [a.astype(float) for a in arrays], t, options, call)


def draw(rng, t: int) -> tuple[list[np.ndarray], list[float]]:
    """p, g, m, v in float32, then lr, beta1, beta2, eps, decay."""
    n = int(rng.integers(3, 9))
    size = 10 ** rng.uniform(-3, 1)  # of the gradient
    p, g, m = rng.normal(size=n), size * rng.normal(size=n), size * rng.normal(size=n)
    v = size**2 * rng.uniform(0.2, 2, n)
    if t == 1:
        m, v = np.zeros(n), np.zeros(n)
    eps = float(rng.choice([1e-8, size * rng.uniform(0.1, 1)]))
    betas = [rng.uniform(0.7, 0.95), rng.uniform(0.9, 0.99)]
    options = [rng.uniform(0.02, 0.3), *betas, eps, rng.uniform(0.05, 0.5)]
    return [a.astype("float32") for a in (p, g, m, v)], [float(x) for x in options]


def compare(found, arrays, t: int, options, call: str) -> None:
    p, g, m, v = arrays
    lr, beta1, beta2, eps, decay = options
    new_m = beta1 * m + (1 - beta1) * g
    new_v = beta2 * v + (1 - beta2) * g**2
    coupled = beta1 * m + (1 - beta1) * (g + decay * p)
    guesses = {"coupled": coupled, "betas": beta1 * g + (1 - beta1) * m}
    guesses["returned"] = new_m / (1 - beta1**t)
    name(found[1], new_m, guesses)
    expect.close(found[1], torch.tensor(new_m), f"{call}[1]")
    name(found[2], new_v, {"betas": beta2 * g**2 + (1 - beta2) * v})
    expect.close(found[2], torch.tensor(new_v), f"{call}[2]")

    first, second = 1 - beta1**t, 1 - beta2**t
    root, kept = np.sqrt(new_v / second), p * (1 - lr * decay)
    step = lr * (new_m / first) / (root + eps)
    old = lr * (m / first) / (np.sqrt(v / second) + eps)
    guesses = {
        "bias": kept - lr * new_m / (np.sqrt(new_v) + eps),
        "half": kept - lr * (new_m / first) / (np.sqrt(new_v) + eps),
        "inside": kept - lr * (new_m / first) / np.sqrt(new_v / second + eps),
        "old": kept - old,
        "whole": p * (1 - decay) - step,
        "undecayed": p - step,
    }
    name(found[0], kept - step, guesses)
    expect.close(found[0], torch.tensor(kept - step), f"{call}[0]")


def name(got, want, guesses: dict) -> None:
    """Say so where the answer is a known mistake."""
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` says it
    values = expect.numbers(got, "adamw_step(...)")
    close = {"rtol": 1e-5, "atol": 1e-5 * np.abs(want).max()}
    if np.allclose(values, want, **close):
        return
    for key, guess in guesses.items():
        if np.allclose(values, guess, **close):
            raise Failed(f"adamw_by_hand.{key}")


HEAD = "def adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay):\n"
BODY = """    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, m, v
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="adamw_by_hand",
    version=1,
    lesson="deepopt",
    stage="basic",
    title={"en": "AdamW by hand", "zh": "手写 AdamW"},
    prompt={
        "en": """Before you beat a rival you should know it. One step of AdamW on a parameter $p$ with gradient $g$, $t$ counted from 1:

$$ m \\leftarrow \\beta_1 m + (1 - \\beta_1)\\, g, \\qquad v \\leftarrow \\beta_2 v + (1 - \\beta_2)\\, g^2, $$

$$ p \\leftarrow (1 - \\eta\\lambda)\\, p - \\eta\\, \\frac{m / (1 - \\beta_1^t)}{\\sqrt{v / (1 - \\beta_2^t)} + \\epsilon}. $$

Write `adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay)` for float32 vectors `p`, `g`, `m`, `v` `[n]`; $\\eta$ is `lr`
and $\\lambda$ is `decay`. Return the **new** `(p, m, v)`, and leave the tensors that you were given as they are.""",
        "zh": """想胜过对手，先要了解对手。对参数 $p$ 和梯度 $g$，AdamW 的一步是（$t$ 从 1 数起）：

$$ m \\leftarrow \\beta_1 m + (1 - \\beta_1)\\, g, \\qquad v \\leftarrow \\beta_2 v + (1 - \\beta_2)\\, g^2, $$

$$ p \\leftarrow (1 - \\eta\\lambda)\\, p - \\eta\\, \\frac{m / (1 - \\beta_1^t)}{\\sqrt{v / (1 - \\beta_2^t)} + \\epsilon}. $$

请编写 `adamw_step(p, g, m, v, t, lr, beta1, beta2, eps, decay)`，其中 `p`、`g`、`m`、`v` 是 float32 向量 `[n]`；$\\eta$ 即 `lr`，$\\lambda$ 即 `decay`。返回**新的** `(p, m, v)`，不要改动传入的张量。""",
    },
    starter=HEAD + "    ...\n",
    answer="adamw_step",
    hints=(
        {
            "en": "Line by line, and in this order: the new `m` and `v` first, then their corrected versions under other names. "
            "What is returned as `m` and `v` is not corrected.",
            "zh": "按公式逐行来，顺序不变：先算新的 `m` 和 `v`，再把校正后的值存到另外的名字里。返回的 `m` 和 `v` 是未校正的。",
        },
        {
            "en": "`m = beta1 * m + (1 - beta1) * g` makes a new tensor; `m.mul_(beta1)` and `m *= beta1` change the one you were "
            "given. The decay shrinks `p` by itself and never goes into `g`: `p * (1 - lr * decay) - lr * ...`.",
            "zh": "`m = beta1 * m + (1 - beta1) * g` 会生成新张量；`m.mul_(beta1)` 和 `m *= beta1` 则会改动传入的张量。权重衰减单独缩小 `p`，不加进 `g`：`p * (1 - lr * decay) - lr * ...`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "no bias correction": changed(
            "    mean = m / (1 - beta1**t)\n    square = v / (1 - beta2**t)\n",
            "    mean, square = m, v\n",
        ),
        "only the mean corrected": changed("v / (1 - beta2**t)", "v"),
        "the decay within the gradient": HEAD
        + "    g = g + decay * p\n"
        + BODY.replace("p * (1 - lr * decay)", "p"),
        "the decay without the learning rate": changed("lr * decay", "decay"),
        "no decay": changed("p * (1 - lr * decay)", "p"),
        "eps within the root": changed(
            "(square.sqrt() + eps)", "(square + eps).sqrt()"
        ),
        "the averages updated after their use": HEAD
        + """    mean = m / (1 - beta1**t)
    square = v / (1 - beta2**t)
    p = p * (1 - lr * decay) - lr * mean / (square.sqrt() + eps)
    return p, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
""",
        "the betas the other way round": changed(
            "beta1 * m + (1 - beta1) * g", "beta1 * g + (1 - beta1) * m"
        ),
        "the corrected averages returned": changed(
            "return p, m, v", "return p, mean, square"
        ),
        "the averages changed in place": changed(
            "m = beta1 * m + (1 - beta1) * g", "m.mul_(beta1).add_(g, alpha=1 - beta1)"
        ),
        "the parameter changed in place": changed(
            "p = p * (1 - lr * decay) - lr",
            "p *= 1 - lr * decay\n    p -= lr",
        ),
        "no root": changed("square.sqrt()", "square"),
    },
    right={
        "with the operations that torch.optim uses": "import torch\n\n\n"
        + HEAD
        + """    m = torch.lerp(m, g, 1 - beta1)
    v = (v * beta2).addcmul_(g, g, value=1 - beta2)
    root = v.sqrt() / (1 - beta2**t) ** 0.5
    p = (p * (1 - lr * decay)).addcdiv_(m, root + eps, value=-lr / (1 - beta1**t))
    return [p, m, v]
""",
        "in float64": HEAD
        + "    p, g, m, v = (x.double() for x in (p, g, m, v))\n"
        + BODY,
    },
    points=2,
    minutes=15,
)
