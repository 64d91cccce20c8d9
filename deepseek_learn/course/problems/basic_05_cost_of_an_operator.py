# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A formula as `operator_costs` takes it: attention within a window, shared heads."""

import torch

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "local_attention_flops")
    for case in range(10):
        while True:
            sizes = draw(rng, case)
            found = [flops(*sizes), *guesses(*sizes).values()]
            if case > 2 or len(set(found)) == len(found):
                break  # in the first cases each mistake has a number of its own
        batch, heads, shared, length, width, value, window = sizes
        shapes = (heads * shared, width), (heads, width), (heads, value)
        q, k, v = (torch.zeros(batch, h, length, w) for h, w in shapes)
        out = torch.zeros(batch, heads * shared, length, value)
        got = expect.call(answer, q, k, v, window, out=out)
        shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
        call = f"local_attention_flops({shapes}, window={window}, out=...)"
        compare(got, call, sizes)


def draw(rng, case: int) -> tuple[int, ...]:
    """Batch, heads of the keys, heads of the query for each, T, E, E_v and window."""
    batch, heads, shared = (int(n) for n in rng.integers(1, 6, size=3))
    width, value, length = (int(n) for n in rng.integers(7, 40, size=3))
    window = int(rng.integers(2, length // 2 + 1))
    if case < 3:  # no two mistakes together give what a third one gives
        batch, heads, shared = rng.permutation([3, 5, 7]).tolist()
    edges = {3: 1, 4: length - 1, 5: length, 6: length + 1, 7: 3 * length}
    if case == 8:
        length = 1
    if case == 9:
        batch = heads = shared = width = value = 1
    return batch, heads, shared, length, width, value, edges.get(case, window)


def flops(batch, heads, shared, length, width, value, window, least=0) -> int:
    places = torch.arange(length)
    back = places[:, None] - places  # how far a key lies behind its query
    pairs = int(((back >= least) & (back < window)).sum())
    return 2 * batch * heads * shared * pairs * (width + value)


def guesses(batch, heads, shared, length, width, value, window) -> dict[str, int]:
    """What mistakes give."""
    sizes = batch, heads, shared, length, width, value
    want = flops(*sizes, window)
    every = 2 * batch * heads * shared * length * (width + value)
    return {
        "macs": want // 2,
        "keys": want // shared,
        "all": every * length,
        "start": every * window,
        "value": want // (width + value) * 2 * width,
        "scores": want // (width + value) * width,
        "wide": flops(*sizes, window + 1),
        "own": flops(*sizes, window + 1, least=1),
        "batch": want // batch,
        "heads": want // (heads * shared),
    }


def compare(got, call: str, sizes: tuple[int, ...]) -> None:
    want, answered = flops(*sizes), float(expect.shape(got, (), call))
    if answered == want:
        return
    made = [name for name, guess in guesses(*sizes).items() if answered == guess]
    if len(made) == 1:  # else it may be either
        raise Failed(f"cost_of_an_operator.{made[0]}", call=call)
    raise Failed("expect.value", what=call, got=answered, want=want)


HEAD = "def local_attention_flops(q, k, v, window, *, out):\n"
PAIRS = """    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
"""

problem = Problem(
    id="cost_of_an_operator",
    version=2,
    lesson="profiler",
    stage="basic",
    title={"en": "The cost of an operator", "zh": "一个算子的开销"},
    prompt={
        "en": """Your team has a fast kernel for attention within a window: the query at place $i$ sees the keys at the places
$i - \\text{window} + 1$ to $i$, as far as they exist. What it does not see, it does not compute. The profiler lists it as *not
counted*; write its formula, to be registered in `operator_costs`.

Write `local_attention_flops(q, k, v, window, *, out)` for tensors `q` `[B, heads, T, E]`,
`k` `[B, kv_heads, T, E]` and `v` `[B, kv_heads, T, E_v]`. Several heads of the query may share one of the keys
(`kv_heads <= heads`): the products are done for each head of the query. `out` is what the operator returned,
`[B, heads, T, E_v]`.

Return the FLOPs (1 MAC = 2 FLOPs) of both products: scores, and scores times values. The softmax is not counted.""",
        "zh": """你的团队有一个很快的窗口注意力内核：位置 $i$ 的查询只看位置 $i - \\text{window} + 1$ 到 $i$ 的键（不存在的不算）；看不到的就不计算。性能分析器把它列为“未计数”。请写出它的公式，以便注册到 `operator_costs`。

请编写 `local_attention_flops(q, k, v, window, *, out)`，其中张量 `q` 为 `[B, heads, T, E]`，`k` 为 `[B, kv_heads, T, E]`，`v` 为 `[B, kv_heads, T, E_v]`。查询的几个头可以共用键的一个头（`kv_heads <= heads`）：乘积按查询的每个头各算一次。`out` 是算子的返回值，形状为 `[B, heads, T, E_v]`。

返回两次乘积（得分、得分乘以值）的 FLOPs（1 次乘加 = 2 FLOPs）；softmax 不计。""",
    },
    starter=HEAD + "    ...\n",
    answer="local_attention_flops",
    hints=(
        {
            "en": "How many pairs of a query and a key are there in one head? The first queries see "
            "fewer keys than the window has.",
            "zh": "一个头里有多少对（查询，键）？最前面的几个查询看到的键比窗口少。",
        },
        {
            "en": "`pairs = sum(min(i + 1, window) for i in range(T))`. A pair costs E MACs for its "
            "score, and E_v for what it adds to the answer.",
            "zh": "`pairs = sum(min(i + 1, window) for i in range(T))`。每一对的得分需要 E 次乘加，它对结果的贡献需要 E_v 次。",
        },
    ),
    check=check,
    solution=HEAD + PAIRS + "    return 2 * B * heads * pairs * (E + v.shape[-1])\n",
    wrong={
        "all pairs": HEAD
        + PAIRS
        + "    return 2 * B * heads * T * T * (E + v.shape[-1])\n",
        "a full window everywhere": HEAD
        + PAIRS
        + "    return 2 * B * heads * T * window * (E + v.shape[-1])\n",
        "the keys' heads": HEAD
        + PAIRS
        + "    return 2 * B * k.shape[1] * pairs * (E + v.shape[-1])\n",
        "MACs": HEAD + PAIRS + "    return B * heads * pairs * (E + v.shape[-1])\n",
        "E for the values too": HEAD
        + PAIRS
        + "    return 2 * B * heads * pairs * 2 * E\n",
        "the scores only": HEAD + PAIRS + "    return 2 * B * heads * pairs * E\n",
        "one key too many": HEAD
        + PAIRS.replace("window)", "window + 1)")
        + "    return 2 * B * heads * pairs * (E + v.shape[-1])\n",
        "not the query's own place": HEAD
        + PAIRS.replace("i + 1", "i")
        + "    return 2 * B * heads * pairs * (E + v.shape[-1])\n",
        "the window is taken to be shorter than the tokens": HEAD
        + """    B, heads, T, E = q.shape
    pairs = T * window - window * (window - 1) // 2
    return 2 * B * heads * pairs * (E + v.shape[-1])
""",
        "the window is taken to be at least 2": HEAD
        + PAIRS.replace("window)", "max(window, 2))")
        + "    return 2 * B * heads * pairs * (E + v.shape[-1])\n",
        "one of the batch": HEAD
        + PAIRS
        + "    return 2 * heads * pairs * (E + v.shape[-1])\n",
        "changes what the operator returned": HEAD
        + PAIRS
        + "    out += 1\n    return 2 * B * heads * pairs * (E + out.shape[-1])\n",
    },
    right={
        "a mask, counted": "import torch\n\n\n"
        + HEAD
        + """    seen = torch.ones(q.shape[-2], k.shape[-2]).tril().triu(1 - window)
    return 2 * seen.sum() * (q[..., 0, :].numel() + out[..., 0, :].numel())
""",
        "by a formula": HEAD
        + """    B, heads, T, E = q.shape
    full = min(window, T)
    pairs = T * full - full * (full - 1) / 2
    return 2.0 * B * heads * pairs * (E + out.shape[-1])
""",
    },
    points=2,
    minutes=15,
)
