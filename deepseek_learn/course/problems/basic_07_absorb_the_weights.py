# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Attention of one new token to kept latents, without ever making keys or values."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .. import expect
from ..problem import Failed, Problem

CALL = "attend(q, r, latents, shared, key_up, value_up)"


def check(answer, rng) -> None:
    expect.function(answer, "attend")
    for trial in range(4):
        heads, seen = int(rng.integers(4, 8)), int(rng.integers(80, 120))
        nope, rope, value = (int(n) for n in rng.integers(24, 33, size=3))
        rank = int(rng.integers(3, 5))
        sizes = {
            "q": (heads, nope),
            "r": (heads, rope),
            "latents": (seen, rank),
            "shared": (seen, rope),
            "key_up": (heads, nope, rank),
            "value_up": (heads, value, rank),
        }
        if trial == 1:
            sizes["q"], sizes["key_up"] = (heads, 2 * nope), (heads, 2 * nope, rank)
        given = [torch.from_numpy(rng.normal(size=s)).float() for s in sizes.values()]
        made = Made()
        got = expect.call(made.counting(answer), *given)
        compare(got, [x.double().numpy() for x in given])
        # keys, or values, of all heads and tokens are more than all that is needed
        if made.numbers >= heads * seen * min(nope, value):
            facts = {"got": made.numbers, "scores": heads * seen}
            raise Failed("absorb_the_weights.expanded", **facts)


def tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Made(TorchDispatchMode):
    """How many numbers all results of the answer's operations had together."""

    numbers = 0

    def counting(self, answer: Callable) -> Callable:
        @functools.wraps(answer)
        def counted(*args):
            with self, OnlyTorch():
                return answer(*args)

        return counted

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        given = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        for each in tensors(made):
            if each.untyped_storage().data_ptr() not in given:  # else it is a view
                self.numbers += each.numel()
        return made


class OnlyTorch(TorchFunctionMode):
    """Refuses the ways out of PyTorch, on which nothing can be counted."""

    WAYS = (torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.WAYS:
            raise Failed("absorb_the_weights.left", name=function.__name__)
        return function(*args, **kwargs or {})


def reference(q, r, latents, shared, key_up, value_up, *, scale=True, turned=True):
    """With keys and values of each head."""
    keys = np.einsum("sc,hnc->hsn", latents, key_up)
    values = np.einsum("sc,hvc->hsv", latents, value_up)
    scores = np.einsum("hn,hsn->hs", q, keys)
    scores = scores + np.einsum("he,se->hs", r, shared) * turned
    scores = scores / np.sqrt(q.shape[1] + r.shape[1] if scale else 1)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return np.einsum("hs,hsv->hv", shares / shares.sum(1, keepdims=True), values)


def compare(got, given) -> None:
    want = reference(*given)
    expect.tensor(got, CALL)
    values = expect.shape(got, want.shape, CALL)
    for key, changes in (("scale", {"scale": False}), ("turned", {"turned": False})):
        if np.allclose(values, reference(*given, **changes), atol=1e-4):
            raise Failed(f"absorb_the_weights.{key}")
    expect.close(got, torch.from_numpy(want), CALL, 1e-4)


HEAD = "import torch\n\n\ndef attend(q, r, latents, shared, key_up, value_up):\n"
BODY = """    small = torch.einsum("hn,hnc->hc", q, key_up)
    scores = small @ latents.T + r @ shared.T
    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5
    read = scores.softmax(1) @ latents
    return torch.einsum("hc,hvc->hv", read, value_up)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="absorb_the_weights",
    version=3,
    lesson="latent_attention",
    stage="basic",
    title={"en": "Absorb the weights", "zh": "吸收权重"},
    prompt={
        "en": """One new token attends to `S` tokens, of which only latents are kept. With $H$ heads:

- `q` `[H, n]`, the query without position, `r` `[H, e]`, its rotary part (already turned);
- `latents` `[S, c]`, and `shared` `[S, e]`, the rotary keys (already turned) that all heads share;
- `key_up` `[H, n, c]` and `value_up` `[H, v, c]`: key and value of head $h$ are $W^K_h c_s$ and $W^V_h c_s$.

Write `attend(...)`, which returns `[H, v]`: for each head the softmax over the tokens of

$$ \\frac{q_h^\\top W^K_h c_s + r_h^\\top k^R_s}{\\sqrt{n + e}} $$

times the values. The catch: **no key and no value may be made**. Move $W^K$ to the query and $W^V$ behind the sum. The check adds up the sizes
of all results of PyTorch's operations on the way (so stay in PyTorch); the scores, `H * S` numbers, are the largest that is needed (a few times).""",
        "zh": """一个新词元要关注 `S` 个词元，而它们只留下了潜在向量。设有 $H$ 个头：

- `q` `[H, n]` 是不带位置的查询，`r` `[H, e]` 是它的旋转部分（已经旋转过）；
- `latents` `[S, c]`，以及所有头共用的旋转键 `shared` `[S, e]`（已经旋转过）；
- `key_up` `[H, n, c]` 和 `value_up` `[H, v, c]`：头 $h$ 的键和值是 $W^K_h c_s$ 和 $W^V_h c_s$。

请编写 `attend(...)`，返回 `[H, v]`：对每个头，先在各词元上对

$$ \\frac{q_h^\\top W^K_h c_s + r_h^\\top k^R_s}{\\sqrt{n + e}} $$

取 softmax，再乘以值并求和。要求是：**不许把键和值算出来**。把 $W^K$ 移到查询一边，把 $W^V$ 移到求和之后。检查会把 PyTorch 运算的中间结果的大小全部加起来（所以请只用 PyTorch）；所需的最大结果是得分，共 `H * S` 个数（会用到几次）。""",
    },
    starter=HEAD + "    ...\n",
    answer="attend",
    hints=(
        {
            "en": "$q^\\top (W c) = (W^\\top q)^\\top c$: the query of each head becomes one of `c` numbers, "
            '`torch.einsum("hn,hnc->hc", q, key_up)`.',
            "zh": "$q^\\top (W c) = (W^\\top q)^\\top c$：每个头的查询变成 `c` 个数，"
            '`torch.einsum("hn,hnc->hc", q, key_up)`。',
        },
        {
            "en": "$\\sum_s p_s W c_s = W \\sum_s p_s c_s$: average the latents first, `[H, c]`, then multiply by `value_up`.",
            "zh": "$\\sum_s p_s W c_s = W \\sum_s p_s c_s$：先对潜在向量求加权平均，得到 `[H, c]`，再乘 `value_up`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "keys and values made, head by head": HEAD
        + """    rows = []
    for h in range(len(q)):
        keys, values = latents @ key_up[h].T, latents @ value_up[h].T
        scores = keys @ q[h] + shared @ r[h]
        shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(0)
        rows.append(shares @ values)
    return torch.stack(rows)
""",
        "keys and values made": HEAD
        + """    keys = torch.einsum("sc,hnc->hsn", latents, key_up)
    values = torch.einsum("sc,hvc->hsv", latents, value_up)
    scores = torch.einsum("hn,hsn->hs", q, keys) + r @ shared.T
    shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(1)
    return torch.einsum("hs,hsv->hv", shares, values)
""",
        "keys and values made in NumPy": HEAD
        + """    import numpy as np

    latents, key_up, value_up = latents.numpy(), key_up.numpy(), value_up.numpy()
    keys = torch.from_numpy(np.einsum("sc,hnc->hsn", latents, key_up))
    values = torch.from_numpy(np.einsum("sc,hvc->hsv", latents, value_up))
    scores = torch.einsum("hn,hsn->hs", q, keys) + r @ shared.T
    shares = (scores / (q.shape[1] + r.shape[1]) ** 0.5).softmax(1)
    return torch.einsum("hs,hsv->hv", shares, values)
""",
        "values made": HEAD
        + BODY.replace(
            "    read = scores.softmax(1) @ latents\n",
            '    values = torch.einsum("sc,hvc->hsv", latents, value_up)\n',
        ).replace(
            'torch.einsum("hc,hvc->hv", read, value_up)',
            'torch.einsum("hs,hsv->hv", scores.softmax(1), values)',
        ),
        "not scaled": changed(
            "    scores = scores / (q.shape[1] + r.shape[1]) ** 0.5\n", ""
        ),
        "scaled without the rotary part": changed(
            "(q.shape[1] + r.shape[1])", "q.shape[1]"
        ),
        "no rotary part": changed(" + r @ shared.T", ""),
        "softmax over the heads": changed("softmax(1)", "softmax(0)"),
        "the latents averaged, not expanded": changed(
            'torch.einsum("hc,hvc->hv", read, value_up)', "read"
        ),
    },
    right={
        "head by head, in float64": HEAD
        + """    q, r, latents, shared = q.double(), r.double(), latents.double(), shared.double()
    rows = []
    for h in range(len(q)):
        scores = latents @ (key_up[h].double().T @ q[h]) + shared @ r[h]
        shares = torch.softmax(scores / (q.shape[1] + r.shape[1]) ** 0.5, 0)
        rows.append(value_up[h].double() @ (shares @ latents))
    return torch.stack(rows)
""",
    },
    points=3,
    minutes=25,
)
