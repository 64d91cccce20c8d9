# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""An 8-bit code of which only the high four bits are read."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "read_high(codes, scale)"


def check(answer, rng) -> None:
    expect.function(answer, "read_high")
    for trial in range(6):
        rows, columns = int(rng.integers(2, 8)), int(rng.integers(16, 40))
        codes = rng.integers(0, 256, size=(rows, columns)).astype("uint8")
        if trial == 0:  # every code once
            codes = rng.permutation(256).astype("uint8").reshape(8, 32)
        if trial == 1:  # one column, and the two ends
            codes = np.array([[0], [255]], dtype="uint8")
        scale = rng.uniform(0.01, 1.0, size=(len(codes), 1)).astype("float32")
        got = expect.call(answer, torch.from_numpy(codes), torch.from_numpy(scale))
        compare(got, codes.astype(float), scale.astype(float))


def compare(got, codes: np.ndarray, scale: np.ndarray) -> None:
    expect.tensor(got, CALL)
    values = expect.shape(got, codes.shape, CALL)
    steps = values / scale  # in steps of the 8-bit code
    high = 16 * np.floor(codes / 16)
    if np.allclose(steps, high - 128, atol=1e-3):
        raise Failed("truncate_a_code.shifted", mean=float((codes - high).mean()))
    if np.allclose(steps, high + 8 - 128, atol=1e-3):
        raise Failed("truncate_a_code.middle")
    if np.allclose(16 * steps, high + 7.5 - 128, atol=1e-2):
        raise Failed("truncate_a_code.step")
    if np.allclose(steps, codes - 128, atol=1e-3):
        raise Failed("truncate_a_code.whole")
    expect.close(values, scale * (high + 7.5 - 128), CALL, 1e-5)
    expect.tensor(got, CALL, torch.float32)


HEAD = "import torch\n\n\ndef read_high(codes, scale):\n"

problem = Problem(
    id="truncate_a_code",
    version=2,
    lesson="quantisation",
    stage="basic",
    title={"en": "Read half of a code", "zh": "只读编码的一半"},
    prompt={
        "en": """Stored are 8-bit codes $q$ that stand for $s\\,(q - 128)$. Only the plane with their high four
bits has been read, $h = \\lfloor q / 16 \\rfloor$; the low four bits may be anything from 0 to 15.

Write `read_high(codes, scale)` for uint8 `codes` `[N, K]` and float32 `scale` `[N, 1]`:
return a float32 tensor `[N, K]`, the best guess of each value **from $h$ alone**. Take the bits
that were not read to be in the *middle* of their range, so that over all codes the guess
is too high as often as it is too low.""",
        "zh": """存储的是 8 位编码 $q$，代表的值是 $s\\,(q - 128)$。现在只读了存放高四位的位平面，即 $h = \\lfloor q / 16 \\rfloor$；低四位可能是 0 到 15 中的任何一个。

请编写 `read_high(codes, scale)`，其中 `codes` 是 uint8，形状 `[N, K]`；`scale` 是 float32，形状 `[N, 1]`。**只根据 $h$** 猜出每个值，返回 float32 张量，形状 `[N, K]`。没有读的那几位取其范围的*正中间*，这样对所有编码来说，猜高和猜低的机会相等。""",
    },
    starter=HEAD + "    ...\n",
    answer="read_high",
    hints=(
        {
            "en": "The middle of 0, 1, ..., 15 is their mean, and it is no whole number.",
            "zh": "0、1、……、15 的正中间就是它们的平均值，而它不是整数。",
        },
        {
            "en": "One step of `h` is worth 16 steps of `q`: the guess for `q` is "
            "`16 * h + 7.5`.",
            "zh": "`h` 的一步相当于 `q` 的 16 步：对 `q` 的猜测是 `16 * h + 7.5`。",
        },
        {
            "en": "uint8 has no negative numbers: `codes - 128` wraps round. Convert "
            "with `.float()` before you subtract.",
            "zh": "uint8 没有负数：`codes - 128` 会绕回去。相减之前先用 `.float()` 转换。",
        },
    ),
    check=check,
    kind="graded",
    wrong={
        "without the half step": HEAD
        + "    return scale * (16 * (codes >> 4).float() - 128)\n",
        "eight instead of seven and a half": HEAD
        + "    return scale * (16 * (codes >> 4).float() + 8 - 128)\n",
        "a code of four bits at the old scale": HEAD
        + "    return scale * ((codes >> 4).float() + 7.5 / 16 - 8)\n",
        "all eight bits": HEAD + "    return scale * (codes.float() - 128)\n",
        "the low four bits": HEAD
        + "    return scale * (16 * (codes & 15).float() + 7.5 - 128)\n",
        "subtracted in uint8": HEAD
        + "    return scale * ((16 * (codes >> 4) - 128) + 7.5)\n",
        "rounded to the nearest code of four bits": HEAD
        + "    high = ((codes.float() + 8) / 16).floor().clamp(max=15)\n"
        + "    return scale * (16 * high - 128)\n",
        "in float64": HEAD
        + "    high = (codes >> 4).double()\n"
        + "    return scale.double() * (16 * high + 7.5 - 128)\n",
        "one scale for all rows": HEAD
        + "    return scale[0] * (16 * (codes >> 4).float() + 7.5 - 128)\n",
        "shifted in place": HEAD
        + "    codes >>= 4\n"
        + "    return scale * (16 * codes.float() + 7.5 - 128)\n",
    },
    points=2,
    minutes=15,
)
