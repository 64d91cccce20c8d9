# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""How many tokens fit beside the weights, for three ways of keeping them."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

CALL = "longest_context(free, layers, sizes, number_bytes)"
KINDS = ("heads", "shared", "latent")


def check(answer, rng) -> None:
    expect.function(answer, "longest_context")
    for i in range(9):
        layers, number_bytes = int(rng.integers(4, 80)), int(rng.choice([1, 2, 4]))
        sizes = draw(rng, KINDS[i % 3])
        want = int(rng.integers(10, 5000))
        token = layers * numbers(sizes) * number_bytes
        if i == 3:
            want = 0  # not even one
        rest = int(rng.integers(0, token))  # the last does not fit whole
        free = token * want + (0, token - 1, rest)[i // 3]
        got = expect.call(answer, free, layers, sizes, number_bytes)
        compare(got, want, free, layers, sizes, number_bytes)


def draw(rng, kind: str) -> dict:
    if kind == "latent":
        return {"rank": int(rng.integers(64, 600)), "rope": int(rng.integers(8, 70))}
    heads = int(rng.integers(2, 129))
    return {
        "heads": heads,
        "key": int(rng.integers(16, 200)),
        "value": int(rng.integers(16, 200)),
    }


def numbers(sizes: dict) -> int:
    """What one layer keeps of one token."""
    if "rank" in sizes:
        return sizes["rank"] + sizes["rope"]
    return sizes["heads"] * (sizes["key"] + sizes["value"])


def compare(got, want, free, layers, sizes, number_bytes) -> None:
    value = expect.whole(got, CALL)
    token = layers * numbers(sizes) * number_bytes
    guesses = {
        "layers": free // (token // layers),
        "rounded": np.ceil(free / token),
        "bytes": free // (token // number_bytes),
    }
    if "rank" in sizes:
        guesses["twice"] = free // (2 * token)
    else:
        guesses["one"] = free // (token // sizes["heads"])
    if value != want:
        for key, guess in guesses.items():
            if value == guess:
                raise Failed(f"how_long_a_context.{key}")
    if value != want:
        raise Failed("expect.value", what=CALL, got=value, want=want)


HEAD = "def longest_context(free, layers, sizes, number_bytes):\n"
BODY = """    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // (layers * numbers * number_bytes)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="how_long_a_context",
    version=3,
    lesson="latent_attention",
    stage="basic",
    title={"en": "How long a context?", "zh": "上下文能有多长？"},
    prompt={
        "en": """`free` bytes are left on a card beside the weights. Write `longest_context(free, layers, sizes, number_bytes)`: how many **whole** tokens
can be kept, an `int`.

- `layers`: so many layers keep something of each token;
- `sizes`: either `{"heads": h, "key": n, "value": v}`, where each of `h` heads keeps a key of `n` and a value of `v` numbers (if several query
  heads share them, `h` counts what is *kept*), or `{"rank": c, "rope": e}`, where a layer keeps a latent and one rotary key;
- `number_bytes`: of one number, 2 for bfloat16.""",
        "zh": """显卡上除去权重，还剩 `free` 字节。请编写 `longest_context(free, layers, sizes, number_bytes)`，返回最多能留下多少个**完整**的词元（`int`）。

- `layers`：有这么多层要为每个词元留下东西；
- `sizes`：或者是 `{"heads": h, "key": n, "value": v}`，即 `h` 个头各留一个 `n` 维的键和一个 `v` 维的值（若几个查询头共用，`h` 只计*留下*的份数）；或者是 `{"rank": c, "rope": e}`，即每层留一个潜在向量和一个旋转键；
- `number_bytes`：每个数的字节数，bfloat16 为 2。""",
    },
    starter=HEAD + "    ...\n",
    answer="longest_context",
    hints=(
        {
            "en": "A latent is key *and* value at once: `rank + rope` numbers a layer, not twice that.",
            "zh": "潜在向量既是键*又是*值：每层 `rank + rope` 个数，不必乘二。",
        },
        {
            "en": "Bytes of one token: layers × numbers × bytes a number. `//` drops the token that does not fit whole.",
            "zh": "一个词元的字节数：层数 × 数的个数 × 每个数的字节数。`//` 会去掉放不下的那一个。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "one layer": changed("layers * numbers", "numbers"),
        "one more than fits": changed(
            "free // (layers * numbers * number_bytes)",
            "-(-free // (layers * numbers * number_bytes))",
        ),
        "a byte a number": changed(" * number_bytes", ""),
        "key and value of a latent": changed(
            'sizes["rank"] + sizes["rope"]', '2 * (sizes["rank"] + sizes["rope"])'
        ),
        "keys only": changed('(sizes["key"] + sizes["value"])', '2 * sizes["key"]'),
        "a float": changed("free // (", "free // 1.0 // ("),
        "at least one": changed("return free // (", "return max(1, free // (").replace(
            "number_bytes)\n", "number_bytes))\n"
        ),
        "less than all of it": changed("free //", "(free - 1) //"),
        "one head": changed('sizes["heads"] * ', ""),
    },
    right={
        "by a sum over layers": "import math\n\n\n"
        + HEAD
        + """    kept = sizes.get("heads", 1) * sum(v for k, v in sizes.items() if k != "heads")
    token = sum(kept * number_bytes for _ in range(layers))
    return math.floor(free / token)
""",
    },
    points=1,
    minutes=10,
)
