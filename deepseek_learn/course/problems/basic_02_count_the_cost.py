# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Multiply-adds of SC-attention and of self-attention, and where they cross."""

import itertools
from collections.abc import Iterator

from .. import expect
from ..problem import Problem


def check(answer, rng) -> None:
    expect.function(answer, "cost")
    for channels, tokens, width in draw(rng):
        call = f"cost({channels}, {tokens}, {width})"
        got = expect.parts(expect.call(answer, channels, tokens, width), 3, call)
        want = reference(channels, tokens, width)
        for i in range(3):
            value = expect.whole(got[i], f"{call}[{i}]")
            expect.close(value, want[i], f"{call}[{i}]", 1e-12)


def draw(rng) -> Iterator[tuple[int, int, int]]:
    """C, N and d; first small ones, which show a difference in every digit."""
    for channels, width in EQUAL:
        yield channels, int(rng.integers(1, 20)), width
    yield 1, 1, 64  # dearer from the first token on
    yield 7, 2, 1  # C // 8 is 0
    yield 15, 3, 1
    for _ in range(30):
        channels, tokens = int(rng.integers(1, 520)), int(rng.integers(1, 5000))
        yield channels, tokens, int(rng.choice([1, 2, 4, 8, 16, 64]))


# C and d for which both cost the same at some number of tokens; of (4, 2) at just one
EQUAL = [(4, 2), (2, 1), (4, 1), (25, 2), (50, 2)]


def reference(channels: int, tokens: int, width: int) -> tuple[int, int, int]:
    crossing = next(
        n
        for n in itertools.count(1)
        if self_attention(channels, n, width) > spatial_channel(channels, n)
    )
    costs = spatial_channel(channels, tokens), self_attention(channels, tokens, width)
    return *costs, crossing


def spatial_channel(channels: int, tokens: int) -> int:
    return 9 * channels * tokens + 2 * channels * (channels // 8)


def self_attention(channels: int, tokens: int, width: int) -> int:
    projections = 4 * channels * width * tokens  # q, k, v and the way back
    return projections + 2 * width * tokens**2  # scores, weighted sum


HEAD = "def cost(C, N, d):\n"
COUNTS = """    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

"""
CROSSING = """    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing
"""

problem = Problem(
    id="count_the_cost",
    version=2,
    lesson="attention_families",
    stage="basic",
    title={"en": "Count the cost", "zh": "算一算代价"},
    prompt={
        "en": """For features with `C` channels and `N` positions (tokens), count the multiply-adds of the
convolutions and matrix products; leave out means, sigmoids, softmax and the final weighing.

- SC-attention: a 3×3 convolution from `C` channels to one at each of the `N` positions,
  and, **once**, two matrices `C → C // 8 → C`.
- Self-attention of width `d`: at each position the projections to query, key and value and
  the one back to `C`; the scores, `N × N` of length `d`; the weighted sum of the values.

Write `cost(C, N, d)`, which returns three whole numbers (`int`, not `float`): the cost of
SC-attention, the cost of self-attention, and the crossing: the smallest number of tokens,
at least 1, at which self-attention costs **more**. `C` need not be a multiple of 8. Then ask it `cost(512, 56 * 56, 8)` and `cost(512, 4, 8)`:
who is cheaper where?""",
        "zh": """设特征有 `C` 个通道、`N` 个位置（token）。请数一数其中卷积和矩阵乘法的乘加次数；求平均、sigmoid、softmax 和最后的加权不计。

- SC 注意力：在 `N` 个位置上各做一次从 `C` 个通道到 1 个通道的 3×3 卷积，另外**只做一次** `C → C // 8 → C` 的两个矩阵乘法。
- 宽度为 `d` 的自注意力：在每个位置上做到 query、key、value 的投影，以及投影回 `C`；计算 `N × N` 个、长度为 `d` 的内积得分；再对 value 加权求和。

请编写 `cost(C, N, d)`，返回三个整数（`int`，不是 `float`）：SC 注意力的代价、自注意力的代价，以及交叉点，即自注意力**更贵**时的最小 token 数（至少为 1）。`C` 不一定是 8 的倍数。然后算一算 `cost(512, 56 * 56, 8)` 和 `cost(512, 4, 8)`：哪种情况下谁更省？""",
    },
    starter=HEAD + "    ...\n",
    answer="cost",
    hints=(
        {
            "en": "A convolution costs (output positions) × (output channels) × (input "
            "channels) × (kernel size); a matrix product [n, k] · [k, m] costs n·k·m.",
            "zh": "卷积的代价 = 输出位置数 × 输出通道数 × 输入通道数 × 卷积核大小；矩阵乘法 [n, k] · [k, m] 的代价 = n·k·m。",
        },
        {
            "en": "SC: 9·C·N + 2·C·(C // 8). Self-attention: four projections of C·d at "
            "each position, and N·N·d twice: for the scores and for the weighted sum.",
            "zh": "SC：9·C·N + 2·C·(C // 8)。自注意力：每个位置有 4 个代价为 C·d 的投影，再加两次 N·N·d，分别是得分和加权求和。",
        },
        {
            "en": "For the crossing a `while` loop that counts up from 1 is enough.",
            "zh": "求交叉点时，用一个从 1 往上数的 `while` 循环就够了。",
        },
    ),
    check=check,
    solution=HEAD + COUNTS + CROSSING,
    wrong={
        "the scores but not the weighted sum": HEAD
        + COUNTS.replace("2 * d * n**2", "d * n**2")
        + CROSSING,
        "the bottleneck at every position": HEAD
        + COUNTS.replace("(C // 8)", "(C // 8) * n")
        + CROSSING,
        "crossing where they are equal, not a whole number": HEAD
        + COUNTS
        + "    return sc(N), attention(N), (9 * C - 4 * C * d) / (2 * d)\n",
        "C / 8": HEAD + COUNTS.replace("C // 8", "C / 8") + CROSSING,
        "C / 8, the product rounded": HEAD
        + COUNTS.replace("2 * C * (C // 8)", "round(2 * C * (C / 8))")
        + CROSSING,
        "crossing where they are equal": HEAD + COUNTS + CROSSING.replace("<=", "<"),
        "crossing at 2 or more": HEAD
        + COUNTS
        + CROSSING.replace("crossing = 1", "crossing = 2"),
        "crossing one too early": HEAD
        + COUNTS
        + CROSSING.replace("N), crossing", "N), crossing - 1"),
        "the way back to C left out": HEAD + COUNTS.replace("4 *", "3 *") + CROSSING,
        "floats": HEAD
        + COUNTS
        + CROSSING.replace("sc(N), attention(N)", "float(sc(N)), float(attention(N))"),
    },
    right={
        "the crossing from the quadratic formula": "import math\n\n\n"
        + HEAD
        + COUNTS
        + """    a, b, c = 2 * d, 4 * C * d - 9 * C, -2 * C * (C // 8)
    root = (math.sqrt(b**2 - 4 * a * c) - b) / (2 * a)
    return [sc(N), attention(N), max(math.floor(root) + 1, 1)]
""",
        "NumPy's integers": "import numpy as np\n\n\n"
        + HEAD
        + "    C, N, d = np.int64(C), np.int64(N), np.int64(d)\n"
        + COUNTS
        + """    n = np.arange(1, 5000)
    return np.array([sc(N), attention(N), n[attention(n) > sc(n)][0]])
""",
        "a tensor": "import torch\n\n\n"
        + HEAD
        + COUNTS
        + CROSSING.replace(
            "sc(N), attention(N), crossing",
            "torch.tensor([sc(N), attention(N), crossing])",
        ),
    },
    points=2,
    minutes=20,
)
