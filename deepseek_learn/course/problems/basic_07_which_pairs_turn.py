# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The layout of rotary pairs: a mistake that no shape tells and that was really shipped."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "index_key(k, positions, rope)"


def check(answer, rng) -> None:
    expect.function(answer, "index_key")
    for trial in range(6):
        tokens, rope = int(rng.integers(2, 7)), 2 * int(rng.integers(2, 6))
        dim = rope + int(rng.integers(3, 9)) * (trial != 4)  # once all channels turn
        if trial == 5:
            tokens, rope = 1, 2
        k = rng.normal(size=(tokens, dim))
        positions = np.sort(rng.choice(500, size=tokens, replace=False)) + 1
        if trial == 3:  # as in a batch that is put together: in any order, from 0 on
            positions = rng.permutation(tokens)
        given = torch.from_numpy(k).float(), torch.from_numpy(positions)
        got = expect.call(answer, *given, rope)
        compare(got, given[0].double().numpy(), positions, rope)


def reference(
    k, positions, rope, pairs="halves", first=True, back=False, all_of=False, cat=False
):
    """The same with a choice of mistakes."""
    size = k.shape[1] - k.shape[1] % 2 if all_of else rope
    start = 0 if first or all_of else k.shape[1] - rope
    part = k[:, start : start + size]
    theta = 10_000.0 ** -(np.arange(0, size, 2) / size)
    turn = positions[:, None] * theta * (-1 if back else 1)
    places = np.arange(size).reshape(2, -1)
    if pairs == "neighbours":
        places = places.T.reshape(-1).argsort().reshape(2, -1)
        places = np.stack([np.arange(0, size, 2), np.arange(1, size, 2)])
    a, b = part[:, places[0]], part[:, places[1]]
    done = k.copy()
    done[:, start + places[0]] = a * np.cos(turn) - b * np.sin(turn)
    done[:, start + places[1]] = b * np.cos(turn) + a * np.sin(turn)
    if cat:  # the turned pairs are not put back where they were
        done[:, start : start + size] = done[:, start + places.ravel()]
    return done


GUESSES = {
    "neighbours": {"pairs": "neighbours"},
    "joined": {"pairs": "neighbours", "cat": True},
    "last": {"first": False},
    "back": {"back": True},
    "all": {"all_of": True},
}


def compare(got, k, positions, rope) -> None:
    want = reference(k, positions, rope)
    expect.tensor(got, CALL, torch.float32)
    values = expect.shape(got, want.shape, CALL)
    if not np.allclose(values, want, atol=1e-3):
        for key, changes in GUESSES.items():
            if np.allclose(values, reference(k, positions, rope, **changes), atol=1e-3):
                raise Failed(f"which_pairs_turn.{key}")
    expect.close(got, torch.from_numpy(want), CALL, 1e-3)


HEAD = "import torch\n\n\ndef index_key(k, positions, rope):\n"
BODY = """    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


SHIPPED = changed(
    "a, b = k[:, : rope // 2], k[:, rope // 2 : rope]",
    "a, b = k[:, 0:rope:2], k[:, 1:rope:2]",
).replace(
    "torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)",
    "torch.cat([torch.stack([a * cos - b * sin, b * cos + a * sin], 2).flatten(1), k[:, rope:]], 1)",
)

problem = Problem(
    id="which_pairs_turn",
    version=3,
    lesson="latent_attention",
    stage="basic",
    title={"en": "Which pairs turn?", "zh": "哪些通道成对旋转？"},
    prompt={
        "en": """The public demonstration of DeepSeek-V3.2-Exp did in its indexer (until November 2025) what this line does:

```python
a, b = k[:, 0:rope:2], k[:, 1:rope:2]  # neighbours turn together
```

as in the attention beside it. But the released weights of the *indexer* were trained with the other layout: channel $i$ turns with channel $i + rope/2$.
Nothing raises, all shapes fit, and scores still depend on the distance alone; the indexer merely picks worse tokens.

Write `index_key(k, positions, rope)` as the weights need it. `k` is float32 `[T, d]`, `positions` int64 `[T]`. Of the **first** `rope` channels the pair
$(k_i, k_{i + rope/2})$ becomes

$$ (k_i \\cos p\\theta_i - k_{i+rope/2} \\sin p\\theta_i,\\;\\; k_{i+rope/2} \\cos p\\theta_i + k_i \\sin p\\theta_i), \\quad \\theta_i = 10000^{-2i/rope}, $$

each at its own place; the other channels stay. Return float32 `[T, d]`.""",
        "zh": """DeepSeek-V3.2-Exp 公开的演示代码，在索引器里的做法曾相当于这样一行（直到 2025 年 11 月）：

```python
a, b = k[:, 0:rope:2], k[:, 1:rope:2]  # 相邻的两个通道一起旋转
```

旁边的注意力正是这样做的。可是发布的*索引器*权重是按另一种布局训练的：通道 $i$ 与通道 $i + rope/2$ 一起旋转。这样不会报错，形状全都对得上，得分也仍然只取决于距离；只是索引器挑出的词元变差了。

请按权重所需的布局编写 `index_key(k, positions, rope)`。`k` 是 float32 `[T, d]`，`positions` 是 int64 `[T]`。在**前** `rope` 个通道中，$(k_i, k_{i + rope/2})$ 变为

$$ (k_i \\cos p\\theta_i - k_{i+rope/2} \\sin p\\theta_i,\\;\\; k_{i+rope/2} \\cos p\\theta_i + k_i \\sin p\\theta_i), \\quad \\theta_i = 10000^{-2i/rope}, $$

各自留在原来的位置；其余通道不变。返回 float32 `[T, d]`。""",
    },
    starter=HEAD + "    ...\n",
    answer="index_key",
    hints=(
        {
            "en": "`a, b = k[:, : rope // 2], k[:, rope // 2 : rope]`: the two halves of the rotary channels.",
            "zh": "`a, b = k[:, : rope // 2], k[:, rope // 2 : rope]`：旋转通道的前一半和后一半。",
        },
        {
            "en": "`theta` has `rope // 2` numbers, one a pair; `positions[:, None] * theta` is `[T, rope // 2]`. Put together "
            "with `torch.cat([..., ..., k[:, rope:]], 1)`.",
            "zh": "`theta` 有 `rope // 2` 个数，每对一个；`positions[:, None] * theta` 的形状是 `[T, rope // 2]`。最后用 `torch.cat([..., ..., k[:, rope:]], 1)` 拼起来。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "as it was shipped": SHIPPED,
        "neighbours, put together as halves": changed(
            "a, b = k[:, : rope // 2], k[:, rope // 2 : rope]",
            "a, b = k[:, 0:rope:2], k[:, 1:rope:2]",
        ),
        "the last channels": HEAD
        + """    plain, k = k[:, :-rope], k[:, -rope:]
"""
        + BODY.replace(
            "torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)",
            "torch.cat([plain, a * cos - b * sin, b * cos + a * sin], 1)",
        ),
        "turned back": changed(
            "positions[:, None] * theta", "-positions[:, None] * theta"
        ),
        "all channels": HEAD + "    rope = k.shape[1] - k.shape[1] % 2\n" + BODY,
        "a frequency too many": changed(
            "torch.arange(0, rope, 2) / rope", "torch.arange(0, rope // 2) / rope"
        ),
        "the tokens' order for their positions": changed(
            "positions[:, None]", "torch.arange(len(k))[:, None]"
        ),
        "in float64": changed("k[:, rope:]], 1)", "k[:, rope:]], 1).double()"),
        "not turned": HEAD + "    return k\n",
    },
    right={
        "as complex numbers": HEAD
        + """    half = rope // 2
    theta = 10_000.0 ** (-2 * torch.arange(half, dtype=torch.float64) / rope)
    turn = torch.polar(torch.ones(len(k), half).double(), positions[:, None] * theta)
    pair = torch.complex(k[:, :half].double(), k[:, half:rope].double()) * turn
    done = k.clone()
    done[:, :half], done[:, half:rope] = pair.real, pair.imag
    return done
""",
    },
    points=2,
    minutes=20,
)
