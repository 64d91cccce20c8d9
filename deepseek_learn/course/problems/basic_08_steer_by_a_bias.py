# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""One step of balancing without a loss, and how far a load is from even."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "steer(bias, chosen, rate)"


def check(answer, rng) -> None:
    expect.function(answer, "steer")
    for i in range(6):
        experts, top = int(rng.integers(4, 12)), int(rng.integers(1, 4))
        tokens = experts * int(rng.integers(3, 7))
        skew = rng.uniform(0.1, 1, size=experts) ** 3
        chosen = np.stack(
            [
                rng.choice(experts, top, replace=False, p=skew / skew.sum())
                for _ in range(tokens)
            ]
        )
        if i == 0:  # an even load, and an expert that nobody chose
            chosen = np.arange(tokens)[:, None] % experts
        if i == 1:  # the one that nobody chose lies farthest from the mean
            chosen = np.arange(tokens)[:, None] % (experts - 1)
        if i == 2:  # one below the mean, one above, the others exactly at it
            chosen = np.arange(tokens)[:, None] % experts
            chosen[0] = 1
        if i == 3:  # a mean that is not whole, just above most loads
            chosen = np.arange(experts + 1)[:, None] % experts
        bias, rate = rng.normal(size=experts), float(rng.uniform(0.001, 0.1))
        given = torch.from_numpy(bias).float(), torch.from_numpy(chosen)
        got = expect.call(answer, *given, rate)
        new, violation = expect.parts(got, 2, CALL)
        compare(new, violation, given[0].double().numpy(), chosen, rate)


def compare(new, violation, bias, chosen, rate) -> None:
    load = np.bincount(chosen.ravel(), minlength=len(bias)).astype(float)
    gap = load.mean() - load
    expect.tensor(new, CALL + "[0]", torch.float32)
    values = expect.shape(new, bias.shape, CALL + "[0]")
    guesses = {
        "up": bias - rate * np.sign(gap),
        "amount": bias + rate * gap,
        "share": bias + rate * gap / load.sum(),
        "mean": bias + rate * np.sign(len(chosen) / len(bias) - load),
    }
    if not np.allclose(values, bias + rate * np.sign(gap), atol=1e-5):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-5):
                raise Failed(f"steer_by_a_bias.{key}")
    expect.close(new, torch.from_numpy(bias + rate * np.sign(gap)), CALL + "[0]", 1e-5)
    got = float(expect.shape(violation, (), CALL + "[1]"))
    want = load.max() / load.mean() - 1
    if abs(got - load.max() / load.mean()) < 1e-5 and load.min() > 0:
        raise Failed("steer_by_a_bias.one")
    expect.close(got, want, CALL + "[1]", 1e-5)


HEAD = "import torch\n\n\ndef steer(bias, chosen, rate):\n"
BODY = """    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.mean() - load), float(violation)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="steer_by_a_bias",
    version=3,
    lesson="mixture_of_experts",
    stage="basic",
    title={"en": "Steer by a bias", "zh": "用偏置来调节"},
    prompt={
        "en": """A batch has been routed: `chosen` int64 `[N, k]` are the experts of each token, `bias` float32 `[E]` what was added to choose them. An expert's
*load* is how many tokens it was given.

Write `steer(bias, chosen, rate)`, which returns two things:

1. the bias for the next batch, float32 `[E]`: **up** by `rate` for an expert whose load is below the mean load, **down** by `rate` for one above it,
   unchanged for one exactly at it. The step is the same however far the load is off;
2. the *violation* of the old load, a number: the largest load over the mean load, less 1 (0 is even).

An expert that nobody chose has load 0, and counts.""",
        "zh": """一批词元已经分配好了：`chosen` int64 `[N, k]` 是每个词元的专家，`bias` float32 `[E]` 是选择时加上的偏置。一个专家的*负载*，是分到它的词元数。

请编写 `steer(bias, chosen, rate)`，返回两样东西：

1. 下一批所用的偏置，float32 `[E]`：负载低于平均的专家，**加** `rate`；高于平均的，**减** `rate`；正好等于平均的不变。不管差多少，步长都一样；
2. 原有负载的*不均衡度*，一个数：最大负载除以平均负载，再减 1（0 表示均衡）。

没有人选的专家负载为 0，也要计算在内。""",
    },
    starter=HEAD + "    ...\n",
    answer="steer",
    hints=(
        {
            "en": "`chosen.flatten().bincount(minlength=len(bias))` counts, with a 0 for those that do not occur.",
            "zh": "`chosen.flatten().bincount(minlength=len(bias))` 可以计数，没出现的专家记为 0。",
        },
        {
            "en": "`torch.sign(load.mean() - load)` is 1, 0 or -1; convert the counts with `.float()` first.",
            "zh": "`torch.sign(load.mean() - load)` 是 1、0 或 -1；先用 `.float()` 转换计数。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "the wrong way": changed("bias + rate", "bias - rate"),
        "in proportion to the gap": changed(
            "torch.sign(load.mean() - load)", "(load.mean() - load)"
        ),
        "in proportion to the share": changed(
            "torch.sign(load.mean() - load)", "(load.mean() - load) / load.sum()"
        ),
        "the ratio": changed(" - 1\n", "\n"),
        "the largest deviation": changed(
            "load.max() / load.mean() - 1",
            "(load - load.mean()).abs().max() / load.mean()",
        ),
        "largest less least": changed(
            "load.max() / load.mean() - 1", "(load.max() - load.min()) / load.mean()"
        ),
        "those that nobody chose left out": changed(
            ".bincount(minlength=len(bias)).float()",
            ".bincount(minlength=len(bias)).float()\n    load = load.where(load > 0, load[load > 0].mean())",
        ),
        "one at the mean goes down": changed(
            "torch.sign(load.mean() - load)", "((load < load.mean()) * 2.0 - 1)"
        ),
        "the mean rounded down": changed(
            "torch.sign(load.mean() - load)",
            "torch.sign(load.sum() // len(bias) - load)",
        ),
        "in place": HEAD
        + BODY.replace("return bias + rate *", "bias += rate *").replace(
            ", float(violation)", "\n    return bias, float(violation)"
        ),
        "the median": changed("load.mean() - load", "load.median() - load"),
    },
    right={
        "expert by expert": HEAD
        + """    load = [int((chosen == e).sum()) for e in range(len(bias))]
    mean = chosen.numel() / len(bias)
    steps = [rate if n < mean else -rate if n > mean else 0.0 for n in load]
    return bias + torch.tensor(steps), torch.tensor(max(load) / mean - 1)
""",
    },
    points=2,
    minutes=15,
)
