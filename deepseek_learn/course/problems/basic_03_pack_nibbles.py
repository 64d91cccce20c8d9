# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Two 4-bit codes in one byte."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "pack(codes)"


def check(answer, rng) -> None:
    expect.function(answer, "pack")
    sizes = [(int(n), int(m)) for n, m in rng.integers(3, 12, size=(6, 2))]
    sizes[1:3] = (16, 16), (1, 1)  # every pair of codes; a single byte
    for rows, pairs in sizes:
        codes = rng.integers(0, 16, size=(rows, 2 * pairs)).astype("uint8")
        if pairs == 16:
            codes = np.stack(np.indices((16, 16)), 2).astype("uint8").reshape(16, 32)
        got = expect.call(answer, torch.from_numpy(codes))
        compare(got, codes.astype(int))


def compare(got, codes: np.ndarray) -> None:
    low, high = codes[:, 0::2], codes[:, 1::2]
    want = low + 16 * high
    expect.tensor(got, CALL)
    values = expect.shape(got, want.shape, CALL)
    left, right = np.hsplit(codes, 2)
    if (values != want).any():  # a single byte cannot tell the mistakes apart
        if (values == 16 * low + high).all() and want.size > 1:
            raise Failed("pack_nibbles.high_first")
        if (values == left + 16 * right).all():
            raise Failed("pack_nibbles.halves")
    expect.close(values, want, CALL, 1e-9)
    if got.dtype != torch.uint8:
        size = got.element_size()
        raise Failed("pack_nibbles.dtype", got=str(got.dtype), size=size)


HEAD = "import torch\n\n\ndef pack(codes):\n"

problem = Problem(
    id="pack_nibbles",
    version=2,
    lesson="quantisation",
    stage="basic",
    title={"en": "Two codes a byte", "zh": "一个字节装两个编码"},
    prompt={
        "en": """The smallest number that PyTorch can store has 8 bits. A 4-bit code (a *nibble*) that lies in
a byte of its own wastes half of it, and half of the memory you meant to save.

Write `pack(codes)`: from a uint8 tensor of codes below 16, `[N, K]` with even `K`, make a
uint8 tensor `[N, K / 2]`. Byte $j$ holds the neighbours $2j$ and $2j + 1$, the first of them in the
**low** four bits.""",
        "zh": """PyTorch 能存储的最小的数有 8 位。如果每个 4 位编码（半字节，nibble）各占一个字节，就浪费了一半的位，也就浪费了一半本来想省下的内存。

请编写 `pack(codes)`：输入是由小于 16 的编码组成的 uint8 张量，形状 `[N, K]`，`K` 为偶数；返回 uint8 张量，形状 `[N, K / 2]`。第 $j$ 个字节装相邻的第 $2j$ 个和第 $2j + 1$ 个编码，前一个放在**低**四位。""",
    },
    starter=HEAD + "    ...\n",
    answer="pack",
    hints=(
        {
            "en": "`codes[:, 0::2]` are the codes at even places, `codes[:, 1::2]` those "
            "at odd places.",
            "zh": "`codes[:, 0::2]` 是偶数位置的编码，`codes[:, 1::2]` 是奇数位置的编码。",
        },
        {
            "en": "`high << 4` moves a code into the upper four bits (times 16), and "
            "`low | ...` lays the other one beside it. Both keep uint8.",
            "zh": "`high << 4` 把编码移到高四位（相当于乘 16），`low | ...` 再把另一个放在旁边。两步都保持 uint8。",
        },
    ),
    check=check,
    solution=HEAD + "    return codes[:, 0::2] | (codes[:, 1::2] << 4)\n",
    wrong={
        "high nibble first": HEAD
        + "    return (codes[:, 0::2] << 4) | codes[:, 1::2]\n",
        "the first half of the row with the second": HEAD
        + "    half = codes.shape[1] // 2\n"
        + "    return codes[:, :half] | (codes[:, half:] << 4)\n",
        "in eight bytes instead of one": HEAD
        + "    codes = codes.long()\n"
        + "    return codes[:, 0::2] + 16 * codes[:, 1::2]\n",
        "shifted by three": HEAD
        + "    return codes[:, 0::2] | (codes[:, 1::2] << 3)\n",
        "not shifted": HEAD + "    return codes[:, 0::2] | codes[:, 1::2]\n",
        "pairs of rows": HEAD + "    return (codes[0::2] | (codes[1::2] << 4))\n",
        "in eight signed bits": HEAD
        + "    return (codes[:, 0::2] | (codes[:, 1::2] << 4)).view(torch.int8)\n",
        "fifteen for the high one": HEAD
        + "    return codes[:, 0::2] + 15 * codes[:, 1::2]\n",
        "packed in place": HEAD
        + "    codes[:, 0::2] |= codes[:, 1::2] << 4\n"
        + "    return codes[:, 0::2]\n",
        "a list": HEAD
        + "    return (codes[:, 0::2] | (codes[:, 1::2] << 4)).tolist()\n",
    },
    right={
        "pair by pair": HEAD
        + """    rows = codes.tolist()
    packed = [[a + 16 * b for a, b in zip(r[::2], r[1::2])] for r in rows]
    return torch.tensor(packed, dtype=torch.uint8)
""",
        "a product with 1 and 16": HEAD
        + """    pairs = codes.view(len(codes), -1, 2).float()
    return (pairs @ torch.tensor([1.0, 16.0])).byte()
""",
        "in NumPy, not contiguous": HEAD
        + """    low, high = codes.numpy()[:, 0::2].T, codes.numpy()[:, 1::2].T
    return torch.from_numpy(low + (high << 4)).T
""",
    },
    points=1,
    minutes=10,
)
