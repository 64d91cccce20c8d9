# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Nucleus sampling: the likeliest tokens that together have a share p."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "nucleus(p, top)"


def check(answer, rng) -> None:
    expect.function(answer, "nucleus")
    for i in range(7):
        size = int(rng.integers(5, 20))
        p = rng.dirichlet(np.full(size, 0.5))
        top = float(rng.uniform(0.3, 0.95))
        if i == 0:  # the likeliest alone has more than the share
            p = np.array([0.1, 0.7, 0.15, 0.05])
            top = 0.5
        if i == 1:  # two have just the share
            p, top = np.array([0.125, 0.5, 0.125, 0.25]), 0.75
        if i == 2:
            top = 1.0
        if i == 5:  # a share between what one and two have, which neither has alone
            p, top = (
                rng.permutation([0.4, 0.3, 0.2, 0.1]),
                float(rng.uniform(0.45, 0.65)),
            )
        if i == 3:
            p, top = np.array([1.0]), 0.5  # the only token
        if i == 4:
            top = 1e-3  # the likeliest is always kept
        given = torch.from_numpy(p).float()
        total = np.cumsum(np.sort(given.double().numpy())[::-1])
        if np.abs(total - top + 1e-6).min() < 5e-7:
            continue  # a rounding error would decide
        got = expect.call(answer, given, top)
        expect.tensor(got, CALL, torch.float32)
        values = expect.shape(got, p.shape, CALL)
        if not np.isfinite(values).all():
            raise Failed("keep_the_likeliest.none")
        compare(values, given.double().numpy(), top, got)


def kept(p: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros_like(p)
    mask[np.argsort(-p)[:count]] = 1
    return p * mask


def compare(values, p, top, got) -> None:
    total = np.cumsum(np.sort(p)[::-1])
    count = min(int((total < top - 1e-6).sum()) + 1, len(p))
    want = kept(p, count) / kept(p, count).sum()
    guesses = {"sum": kept(p, count)}
    if count > 1:
        guesses["short"] = kept(p, count - 1) / kept(p, count - 1).sum()
    guesses["each"] = np.where(p >= top, p, 0) / max(p[p >= top].sum(), 1e-9)
    if not np.allclose(values, want, atol=1e-5):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-5):
                raise Failed(f"keep_the_likeliest.{key}")
    expect.close(got, torch.from_numpy(want), CALL, 1e-5)


HEAD = "import torch\n\n\ndef nucleus(p, top):\n"
BODY = """    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="keep_the_likeliest",
    version=4,
    lesson="train_a_small_deepseek",
    stage="practical",
    title={"en": "Keep the likeliest", "zh": "只留最可能的"},
    prompt={
        "en": """Drawn from the whole distribution, a text goes astray: thousands of unlikely tokens have a good chance *together*. Always the likeliest is dull, and goes
in circles. **Nucleus sampling** draws from the few that matter.

Write `nucleus(p, top)` for probabilities `p`, float32 `[V]`, and a share `top` above 0 and at most 1. Keep the **fewest** of the likeliest tokens whose
probabilities add up to at least `top` (up to rounding: 1e-6), set the others to 0, and divide by what is left, so that the sum is 1. The likeliest is
always kept. Return float32 `[V]`, each token at its place. (No two probabilities are equal where it matters.)""",
        "zh": """从整个分布里抽取，文本会走偏：成千上万个不太可能的词元，*合起来*的机会可不小。每次都取最可能的又很乏味，还会原地打转。**核采样**只从少数重要的词元中抽取。

请编写 `nucleus(p, top)`：`p` 是概率，float32 `[V]`；`top` 是大于 0、至多为 1 的比例。从最可能的词元开始，保留**最少**的几个，使它们的概率之和至少为 `top`（允许 1e-6 的舍入误差），其余设为 0，再除以剩下的总和，使和为 1。最可能的那个总是保留。返回 float32 `[V]`，每个词元留在原位。（在要紧的地方，没有两个概率相等。）""",
    },
    starter=HEAD + "    ...\n",
    answer="nucleus",
    hints=(
        {
            "en": "Sort from large to small; `cumsum(0) - ordered` is what the tokens *before* each have together. Keep a token if that is still below `top`.",
            "zh": "从大到小排序；`cumsum(0) - ordered` 是排在每个词元*之前*的那些词元的概率之和。只要它还小于 `top`，就保留这个词元。",
        },
        {
            "en": "Back to the old places: `torch.zeros_like(p).scatter(0, index, ordered)`, with the `index` that `sort` returns.",
            "zh": "放回原位：`torch.zeros_like(p).scatter(0, index, ordered)`，其中 `index` 由 `sort` 返回。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "one too few": changed(
            "before >= top - 1e-6", "before + ordered >= top - 1e-6"
        ),
        "not divided": changed("kept / kept.sum()", "kept"),
        "in float64": changed("kept / kept.sum()", "(kept / kept.sum()).double()"),
        "tokens that have the share each": HEAD
        + """    kept = torch.where(p >= top, p, torch.zeros_like(p))
    return kept / kept.sum()
""",
        "in the order of size": changed(
            "torch.zeros_like(p).scatter(0, index, ordered)", "ordered"
        ),
        "those within the share, and the first": changed(
            "before >= top - 1e-6", "(before + ordered > top) & (before > 0)"
        ),
        "the least likely": changed("p.sort(descending=True)", "p.sort()"),
        "one too many": changed("before >= top - 1e-6", "before - ordered >= top"),
        "softmax of what is left": changed("kept / kept.sum()", "kept.softmax(0)"),
    },
    right={
        "token by token": HEAD
        + """    kept, total = torch.zeros_like(p), 0.0
    for i in p.argsort(descending=True).tolist():
        kept[i] = p[i]
        total += p[i].item()
        if total >= top - 1e-6:
            break
    return kept / kept.sum()
""",
    },
    points=2,
    minutes=15,
)
