# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Speculative decoding: when a draft may stand, and what is drawn where it may not."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "judge(p, q, draft, u)"


# p, q, u where `u` is just the probability, between p and p / q, or p is 0
EDGES = (
    ([0.25, 0.5, 0.25], [0.5, 0.25, 0.25], 0.5),
    ([0.125, 0.875], [0.5, 0.5], 0.25),
    ([0.25, 0.75], [0.5, 0.5], 0.375),
    ([0.0, 0.5, 0.5], [0.25, 0.5, 0.25], 0.0),
    ([0.25, 0.75], [0.75, 0.25], 0.0),
    # just below the probability, however small the draft's own is
    ([0.0078125, 0.9921875], [0.015625, 0.984375], 0.49),
    ([0.125, 0.875], [0.25, 0.75], 0.499),
    # a `u` of one's own would decide otherwise in one of these
    *[([0.25, 0.75], [0.5, 0.5], u) for u in (0.499, 0.501) * 20],
)


def check(answer, rng) -> None:
    expect.function(answer, "judge")
    for i in range(len(EDGES) + 19):
        size = int(rng.integers(4, 9))
        p, q = (rng.dirichlet(np.full(size, 0.7)) for _ in range(2))
        p, q = (torch.from_numpy(x).float() for x in (p, q))
        draft = int(rng.choice(size, p=q.double().numpy() / q.double().sum().item()))
        ratio = float(p[draft] / q[draft])
        u = float(rng.uniform(0, 1))
        if abs(u - min(ratio, 1)) < 0.02:
            u = 0.5 * min(ratio, 1)
        if i % 3 == 0 and ratio > 1:  # likelier for the model: it always stands
            u = 0.999
        if i < len(EDGES):
            p, q, draft, u = (
                torch.tensor(EDGES[i][0]),
                torch.tensor(EDGES[i][1]),
                0,
                EDGES[i][2],
            )
        got = expect.call(answer, p, q, draft, u)
        stands, rest = expect.parts(got, 2, CALL)
        compare(stands, rest, p, q, draft, u)


def compare(stands, rest, p, q, draft, u) -> None:
    stands = expect.truth(stands, CALL + "[0]")
    ratio = float(p[draft] / q[draft])
    if stands != (u < ratio):
        key = "refused" if u < ratio else "stood"
        raise Failed(f"accept_a_draft.{key}", u=u, p=float(p[draft]), q=float(q[draft]))
    expect.tensor(rest, CALL + "[1]", torch.float32)
    p, q = p.double().numpy(), q.double().numpy()
    left = np.maximum(p - q, 0)
    want = left / left.sum()
    values = expect.shape(rest, want.shape, CALL + "[1]")
    without = np.where(np.arange(len(p)) == draft, 0, p)
    guesses = {
        "whole": p,
        "without": without / without.sum(),
        "absolute": np.abs(p - q) / np.abs(p - q).sum(),
        "sum": left,
    }
    if not np.allclose(values, want, atol=1e-4):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-4):
                raise Failed(f"accept_a_draft.{key}")
    expect.close(rest, torch.from_numpy(want), CALL + "[1]", 1e-5)


HEAD = "import torch\n\n\ndef judge(p, q, draft, u):\n"
BODY = """    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="accept_a_draft",
    version=3,
    lesson="train_a_small_deepseek",
    stage="practical",
    title={"en": "Accept a draft", "zh": "要不要采用草稿"},
    prompt={
        "en": """A cheap block has drawn the token `draft` from its distribution `q`; the model would have drawn from `p` (both float32 `[V]`). If wrong drafts were merely
thrown away, the text would not be the model's any more. This rule keeps it so *exactly*:

- accept the draft with probability $\\min(1,\\; p_{draft} / q_{draft})$;
- if it is refused, draw from what `p` has more than `q`: $\\max(p - q, 0)$, divided by its sum.

(Why: a token comes out with $\\min(p, q)$ by being accepted, and with $\\max(p - q, 0)$ otherwise; both add up to `p`.)

Write `judge(p, q, draft, u)`, where `u`, drawn evenly from 0 to 1, decides: accept if `u` is below the probability. (`p` and `q` differ.) Return a `bool`, whether the draft stands,
and the distribution to draw from if it does not, float32 `[V]` (return it in any case).""",
        "zh": """一个开销小的模块从自己的分布 `q` 中抽出了词元 `draft`；而模型本应从 `p` 中抽取（两者都是 float32 `[V]`）。如果只是把错的草稿扔掉，写出的文本就不再是这个模型的了。下面的规则能*严格*保持不变：

- 以概率 $\\min(1,\\; p_{draft} / q_{draft})$ 采用草稿；
- 如果不采用，就从 `p` 比 `q` 多出的部分中抽取：$\\max(p - q, 0)$ 除以它的和。

（原因：一个词元因草稿被采用而出现的概率是 $\\min(p, q)$，否则是 $\\max(p - q, 0)$；两者相加正是 `p`。）

请编写 `judge(p, q, draft, u)`，其中 `u` 从 0 到 1 均匀抽取，由它决定：`u` 小于该概率就采用。（`p` 与 `q` 不同。）返回一个 `bool`，表示草稿是否采用，以及不采用时抽取所用的分布，float32 `[V]`（无论采用与否都要返回）。""",
    },
    starter=HEAD + "    ...\n",
    answer="judge",
    hints=(
        {
            "en": "`u < p[draft] / q[draft]`: a ratio above 1 is above every `u`, so the minimum need not be written.",
            "zh": "`u < p[draft] / q[draft]`：比值大于 1 时总大于 `u`，所以不必写出最小值。",
        },
        {
            "en": "`(p - q).clamp_min(0)`, over its own sum.",
            "zh": "`(p - q).clamp_min(0)`，再除以它自己的和。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "a little more than the draft's probability": changed(
            "p[draft] / q[draft]", "p[draft] / (q[draft] + 0.01)"
        ),
        "a u of its own": changed("u < p", "torch.rand(()) < p"),
        "only if it is the likeliest": changed(
            "u < p[draft] / q[draft]", "draft == p.argmax()"
        ),
        "the ratio the other way up": changed(
            "p[draft] / q[draft]", "q[draft] / p[draft]"
        ),
        "the model's probability alone": changed("p[draft] / q[draft]", "p[draft]"),
        "just the probability is enough": changed("u < p", "u <= p"),
        "a tensor for a bool": changed("bool(stands)", "stands"),
        "in float64": changed("rest / rest.sum()", "(rest / rest.sum()).double()"),
        "drawn anew from the whole": changed("(p - q).clamp_min(0)", "p"),
        "the draft struck out": HEAD
        + BODY.replace(
            "    rest = (p - q).clamp_min(0)\n",
            "    rest = p.clone()\n    rest[draft] = 0\n",
        ),
        "the difference either way": changed("(p - q).clamp_min(0)", "(p - q).abs()"),
        "what is left, not divided": changed("rest / rest.sum()", "rest"),
        "always": changed("bool(stands)", "True"),
    },
    right={
        "with the minimum, token by token": HEAD
        + """    chance = min(1.0, p[draft].item() / q[draft].item())
    rest = torch.tensor([max(a - b, 0.0) for a, b in zip(p.tolist(), q.tolist())])
    return [u < chance, rest / rest.sum()]
""",
    },
    points=2,
    minutes=20,
)
