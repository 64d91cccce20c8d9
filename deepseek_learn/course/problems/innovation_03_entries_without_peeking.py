# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Compressed entries of whole windows, and from when on a token may see them."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "compress(content, gate, bias)"


def check(answer, rng) -> None:
    expect.function(answer, "compress")
    for i in range(6):
        rate, dim = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        if i == 1:
            rate, dim = 1, 1
        # the last window is full, too, or it is only begun
        begun = 0 if i < 2 else int(rng.integers(1, rate))
        tokens = rate * int(rng.integers(2, 6)) + begun
        sizes = (tokens, dim), (tokens, dim), (rate, dim)
        given = [torch.from_numpy(rng.normal(size=s)).float() for s in sizes]
        got = expect.call(answer, *given)
        entries, seen = expect.parts(got, 2, CALL)
        compare(entries, seen, *(x.double().numpy() for x in given))


def reference(content, gate, bias, axis=1, biased=True):
    rate, dim = bias.shape
    count = len(content) // rate
    windows = content[: count * rate].reshape(count, rate, dim)
    gates = gate[: count * rate].reshape(count, rate, dim) + bias * biased
    shares = np.exp(gates - gates.max(axis, keepdims=True))
    return (windows * shares / shares.sum(axis, keepdims=True)).sum(1)


def compare(entries, seen, content, gate, bias) -> None:
    rate, count = len(bias), len(content) // len(bias)
    expect.tensor(entries, CALL + "[0]", torch.float32)
    if tuple(entries.shape) == (count + 1, bias.shape[1]):
        raise Failed("entries_without_peeking.partial", full=count)
    want = reference(content, gate, bias)
    values = expect.shape(entries, want.shape, CALL + "[0]")
    mean = content[: count * rate].reshape(count, rate, -1).mean(1)
    guesses = {
        "mean": mean,
        "bias": reference(content, gate, bias, biased=False),
        "channels": reference(content, gate, bias, axis=2),
    }
    if not np.allclose(values, want, atol=1e-4):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-4):
                raise Failed(f"entries_without_peeking.{key}")
    expect.close(entries, torch.from_numpy(want), CALL + "[0]", 1e-4)
    expect.tensor(seen, CALL + "[1]", torch.bool)
    mask = expect.shape(seen, (len(content), count), CALL + "[1]") != 0
    tokens, windows = np.arange(len(content))[:, None], np.arange(count)
    right = (windows + 1) * rate <= tokens + 1
    if (mask & ~right).any():
        t, w = (int(n) for n in np.argwhere(mask & ~right)[0])
        raise Failed(
            "entries_without_peeking.peeks", token=t, window=w, last=(w + 1) * rate - 1
        )
    if (mask != right).any():
        t, w = (int(n) for n in np.argwhere(mask != right)[0])
        raise Failed(
            "entries_without_peeking.late", token=t, window=w, last=(w + 1) * rate - 1
        )


HEAD = "import torch\n\n\ndef compress(content, gate, bias):\n"
BODY = """    rate, count = len(bias), len(content) // len(bias)
    windows = content[: count * rate].unflatten(0, (count, rate))
    gates = gate[: count * rate].unflatten(0, (count, rate)) + bias
    entries = (windows * gates.softmax(1)).sum(1)
    tokens, numbers = torch.arange(len(content)), torch.arange(count)
    return entries, numbers < (tokens[:, None] + 1) // rate
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="entries_without_peeking",
    version=2,
    lesson="hybrid_attention",
    stage="innovation",
    title={"en": "Entries without peeking", "zh": "不偷看的压缩条目"},
    prompt={
        "en": """Compressed attention keeps, instead of `rate` tokens, one *entry*: a mean of them, weighted channel by channel,

$$ e_w = \\sum_{j=0}^{rate-1} \\mathrm{softmax}_j(z_{w \\cdot rate + j} + b_j) \\odot c_{w \\cdot rate + j}, $$

the softmax over the `rate` places of the window, for each channel by itself.

Write `compress(content, gate, bias)` with `content` $c$ and `gate` $z$ float32 `[T, d]`, `bias` $b$ float32 `[rate, d]`. Return two things:

1. the entries of all **full** windows, float32 `[W, d]` with $W = \\lfloor T / rate \\rfloor$;
2. which of them each token may see, bool `[T, W]`: an entry must not be seen by a token *before the last* of its window, for it holds that last one.
   The last token itself may see it.""",
        "zh": """压缩注意力用一个*条目*代替 `rate` 个词元：对它们逐通道加权平均，

$$ e_w = \\sum_{j=0}^{rate-1} \\mathrm{softmax}_j(z_{w \\cdot rate + j} + b_j) \\odot c_{w \\cdot rate + j}, $$

其中 softmax 在窗口的 `rate` 个位置上取，每个通道各自计算。

请编写 `compress(content, gate, bias)`：`content`（$c$）和 `gate`（$z$）是 float32 `[T, d]`，`bias`（$b$）是 float32 `[rate, d]`。返回两样东西：

1. 所有**完整**窗口的条目，float32 `[W, d]`，$W = \\lfloor T / rate \\rfloor$；
2. 每个词元能看见其中哪些，bool `[T, W]`：窗口*最后一个词元之前*的词元不许看见它的条目，因为条目里含有最后那个词元。最后一个词元自己可以看见。""",
    },
    starter=HEAD + "    ...\n",
    answer="compress",
    hints=(
        {
            "en": "`content[: count * rate].unflatten(0, (count, rate))` is `[W, rate, d]`; `.softmax(1)` is over the places.",
            "zh": "`content[: count * rate].unflatten(0, (count, rate))` 的形状是 `[W, rate, d]`；`.softmax(1)` 就是在各个位置上取。",
        },
        {
            "en": "Token `t` has `t + 1` tokens up to and with itself: `(t + 1) // rate` windows are full.",
            "zh": "到词元 `t` 为止（含它自己）有 `t + 1` 个词元：完整的窗口有 `(t + 1) // rate` 个。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "a window is seen from its first token on": changed(
            "numbers < (tokens[:, None] + 1) // rate",
            "numbers * rate <= tokens[:, None]",
        ),
        "the last windows, not the first": changed(
            "content[: count * rate]", "content[len(content) - count * rate :]"
        ).replace("gate[: count * rate]", "gate[len(gate) - count * rate :]"),
        "the last entry only where a window has begun": changed(
            "numbers < (tokens[:, None] + 1) // rate",
            """(numbers < (tokens[:, None] + 1) // rate) & ~(
        (tokens[:, None] == count * rate - 1) & (numbers == count - 1)
        & (len(content) % rate > 0)
    )""",
        ),
        "zeros fill the last window": HEAD
        + """    short = -len(content) % len(bias)
    content = torch.cat([content, content.new_zeros(short, content.shape[1])])
    gate = torch.cat([gate, gate.new_zeros(short, gate.shape[1])])
"""
        + BODY,
        "one token too late": changed(
            "(tokens[:, None] + 1) // rate", "tokens[:, None] // rate"
        ),
        "all is seen": changed(
            "numbers < (tokens[:, None] + 1) // rate",
            "torch.ones(len(content), count, dtype=torch.bool)",
        ),
        "a plain mean": changed(
            "(windows * gates.softmax(1)).sum(1)", "windows.mean(1)"
        ),
        "without the bias": changed("(count, rate)) + bias", "(count, rate))"),
        "softmax over the channels": changed("gates.softmax(1)", "gates.softmax(2)"),
        "the begun window, too": HEAD
        + """    rate = len(bias)
    short = -len(content) % rate or rate
    content = torch.cat([content, content.new_zeros(short, content.shape[1])])
    gate = torch.cat([gate, gate.new_zeros(short, gate.shape[1])])
"""
        + BODY.replace(
            "    rate, count = len(bias), len(content) // len(bias)\n",
            "    count = len(content) // rate\n",
        ),
        "numbers for a mask": changed("// rate\n", "// rate + 0.0\n")
        .replace("numbers <", "1.0 * (numbers <")
        .replace("rate + 0.0", "rate)"),
        "a sum": changed("gates.softmax(1)", "gates"),
    },
    right={
        "window by window, channel by channel": HEAD
        + """    rate, dim = bias.shape
    count = len(content) // rate
    entries = torch.empty(count, dim)
    seen = torch.zeros(len(content), count, dtype=torch.bool)
    for w in range(count):
        part = slice(w * rate, (w + 1) * rate)
        for d in range(dim):
            shares = torch.softmax(gate[part, d] + bias[:, d], 0)
            entries[w, d] = shares @ content[part, d]
        seen[(w + 1) * rate - 1 :, w] = True
    return [entries, seen]
""",
    },
    points=2,
    minutes=20,
)
