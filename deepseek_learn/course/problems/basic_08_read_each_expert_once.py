# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Grouped dispatch: each expert is called once, with all of its tokens."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "dispatch(x, chosen, weights, experts)"


def check(answer, rng) -> None:
    expect.function(answer, "dispatch")
    for i in range(5):
        count, top = int(rng.integers(4, 9)), int(rng.integers(1, 4))
        if i == 0:
            top = 3  # an expert is then chosen in more than one place
        tokens, width = int(rng.integers(12, 30)), int(rng.integers(3, 7))
        if i == 4:
            tokens = 1
        experts = [Expert(rng, width) for _ in range(count)]
        among = count - 1 if i % 2 else count  # sometimes the last is not chosen
        chosen = np.stack([rng.permutation(among)[:top] for _ in range(tokens)])
        weights = rng.uniform(0.1, 1, size=chosen.shape)
        weights[rng.random(chosen.shape) < 0.2] = 1e-6  # little is not nothing
        weights[-1, -1] = 1e-6
        given = [
            torch.from_numpy(rng.normal(size=(tokens, width))).float(),
            torch.from_numpy(chosen),
            torch.from_numpy(weights).float(),
        ]
        got = expect.call(answer, *given, experts)
        calls = [each.calls for each in experts]
        compare(got, *(x.numpy() for x in given), experts)
        used = len(np.unique(chosen))
        if sum(calls) > used or max(calls) > 1:
            raise Failed("read_each_expert_once.calls", calls=sum(calls), used=used)
        for e, each in enumerate(experts):
            if each.rows != (wanted := int((chosen == e).sum())):
                facts = {"expert": e, "got": each.rows, "wanted": wanted}
                raise Failed("read_each_expert_once.rows", **facts)


class Expert:
    """A network `[n, d]` → `[n, d]` that counts its calls and what it was given."""

    def __init__(self, rng, width: int):
        self.weight = rng.normal(size=(width, width))
        self.calls = self.rows = 0

    def __call__(self, x):
        self.calls += 1
        if x.dim() != 2:
            raise ValueError(f"an expert takes [n, d]; got {list(x.shape)}")
        self.rows += len(x)
        return torch.tanh(x.double() @ torch.from_numpy(self.weight)).to(x.dtype)


def compare(got, x, chosen, weights, experts) -> None:
    want, plain, tokens = np.zeros(x.shape), np.zeros(x.shape), np.arange(len(x))
    for slot in range(chosen.shape[1]):
        for n in tokens:
            done = np.tanh(x[n].astype(float) @ experts[chosen[n, slot]].weight)
            want[n] += weights[n, slot] * done
            plain[n] += done
    expect.tensor(got, CALL, torch.float32)
    values = expect.shape(got, want.shape, CALL)
    if np.allclose(values, plain, atol=1e-4):
        raise Failed("read_each_expert_once.weights")
    expect.close(got, torch.from_numpy(want), CALL, 1e-4)


HEAD = "import torch\n\n\ndef dispatch(x, chosen, weights, experts):\n"
BODY = """    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result.index_add_(0, token, done)
    return result
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="read_each_expert_once",
    version=4,
    lesson="mixture_of_experts",
    stage="basic",
    title={"en": "Read each expert once", "zh": "每个专家只读一次"},
    prompt={
        "en": """An expert's weights are megabytes; a token is a few hundred numbers. So a token-by-token loop reads the same weights again and again.

Write `dispatch(x, chosen, weights, experts)`, which **calls each expert at most once**, with all of its tokens together and no others:

- `x` float32 `[N, d]`; `chosen` int64 `[N, k]`, the experts of each token (all different); `weights` float32 `[N, k]`;
- `experts` is a list of functions `[n, d]` → `[n, d]`. One that no token chose must not be called.

Return float32 `[N, d]`: for each token the weighted sum of its experts' answers.""",
        "zh": """一个专家的权重有几兆字节，而一个词元只有几百个数。所以逐个词元循环，会把同样的权重读了一遍又一遍。

请编写 `dispatch(x, chosen, weights, experts)`，**每个专家最多调用一次**，把分给它的词元（不多也不少）一起交给它：

- `x` float32 `[N, d]`；`chosen` int64 `[N, k]`，每个词元的专家（互不相同）；`weights` float32 `[N, k]`；
- `experts` 是一列函数，`[n, d]` → `[n, d]`。没有词元选中的专家不许调用。

返回 float32 `[N, d]`：每个词元的各专家答案的加权和。""",
    },
    starter=HEAD + "    ...\n",
    answer="dispatch",
    hints=(
        {
            "en": "Loop over the experts, not over the tokens: `for e in chosen.unique().tolist()`.",
            "zh": "对专家循环，而不是对词元循环：`for e in chosen.unique().tolist()`。",
        },
        {
            "en": "`token, slot = (chosen == e).nonzero(as_tuple=True)` says which tokens have the expert, and in which of their `k` places, "
            "where its weight stands: `weights[token, slot]`.",
            "zh": "`token, slot = (chosen == e).nonzero(as_tuple=True)` 给出哪些词元选了这个专家，以及在它们 `k` 个位置中的哪一个；权重就在那里：`weights[token, slot]`。",
        },
        {
            "en": "Add up with `result.index_add_(0, token, done)`.",
            "zh": "用 `result.index_add_(0, token, done)` 累加。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "token by token": HEAD
        + """    rows = []
    for token, some, shares in zip(x, chosen.tolist(), weights):
        rows.append(sum(w * experts[e](token[None])[0] for e, w in zip(some, shares)))
    return torch.stack(rows)
""",
        "once for each place": HEAD
        + """    result = torch.zeros_like(x)
    for slot in range(chosen.shape[1]):
        for e in chosen[:, slot].unique().tolist():
            token = (chosen[:, slot] == e).nonzero()[:, 0]
            result[token] += experts[e](x[token]) * weights[token, slot, None]
    return result
""",
        "every expert, used or not": changed(
            "chosen.unique().tolist()", "range(len(experts))"
        ),
        "all tokens to each": HEAD
        + """    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        result += experts[e](x) * (weights * (chosen == e)).sum(1, keepdim=True)
    return result
""",
        "not weighted": changed(" * weights[token, slot, None]", ""),
        "in float64": changed(
            "torch.zeros_like(x)", "torch.zeros_like(x).double()"
        ).replace("token, done)", "token, done.double())"),
        "the first weight for all": changed(
            "weights[token, slot, None]", "weights[token, :1]"
        ),
        "what counts little left out": changed(
            "chosen == e)", "(chosen == e) & (weights > 1e-4))"
        ),
        "the last expert wins": changed(
            "result.index_add_(0, token, done)", "result[token] = done"
        ),
    },
    right={
        "sorted by expert, a share for each": HEAD
        + """    flat = chosen.flatten()
    order = flat.argsort()
    token = order // chosen.shape[1]
    sizes = flat.bincount(minlength=len(experts)).tolist()
    done = [
        expert(part)
        for expert, part in zip(experts, x[token].split(sizes))
        if len(part)
    ]
    done = torch.cat(done) * weights.flatten()[order, None]
    return torch.stack([done[token == n].sum(0) for n in range(len(x))])
""",
    },
    points=2,
    minutes=20,
)
