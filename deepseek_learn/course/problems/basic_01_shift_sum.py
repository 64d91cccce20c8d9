# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A 3x3 convolution to one channel as nine shifted maps, added up."""

import numpy as np
import torch
import torch.nn.functional as F

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "shift_sum")
    sides = rng.integers(2, 9, size=(6, 2)).tolist()
    sides[1:4] = [1, 1], [1, 5], [5, 1]  # mostly border
    for height, width in sides:
        batch, channels = int(rng.integers(1, 4)), int(rng.integers(1, 9))
        size = (batch, channels, height, width)
        x = torch.from_numpy(rng.normal(size=size)).float()
        kernel = torch.from_numpy(rng.normal(size=(1, channels, 3, 3))).float()
        want = F.conv2d(x, kernel, padding=1)  # [B, 1, H, W]
        pointwise = kernel[0].flatten(1).T[:, :, None, None]  # [9, C, 1, 1]
        taps = F.conv2d(x, pointwise)  # [B, 9, H, W]
        got = expect.call(answer, taps)
        compare(got, want, F.conv2d(x, kernel.flip((2, 3)), padding=1))


def compare(got, want: torch.Tensor, other_way: torch.Tensor) -> None:
    what = "shift_sum(taps)"
    values = expect.shape(got, want.shape, what)
    if np.allclose(values, other_way, atol=1e-4) and not np.allclose(
        values, want, atol=1e-4
    ):
        raise Failed("shift_sum.other_way")
    expect.close(values, want.numpy(), what, 1e-4)


HEAD = """import torch
import torch.nn.functional as F


def shift_sum(taps):
"""
BODY = """    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(9):
        row, column = t // 3, t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="shift_sum",
    version=2,
    lesson="spatial_channel_attention",
    stage="basic",
    title={"en": "Nine taps, shifted and added", "zh": "九个抽头：平移再相加"},
    prompt={
        "en": """A 3×3 convolution to **one** channel leaves wide processor kernels idle. A
1×1 convolution to 9 channels does not, and the two are equal:

$$(K * x)_p = \\sum_{t=0}^{8} (K_t \\cdot x)_{p + o_t}$$

Tap $t$ is row $t // 3$ and column $t \\bmod 3$ of the kernel, so its offset is
$o_t = (t // 3 - 1,\\; t \\bmod 3 - 1)$. Outside the picture everything is 0.

You get the nine maps $K_t \\cdot x$ as `taps`, `[B, 9, H, W]`. Return `[B, 1, H, W]`: the
output of the 3×3 convolution with `padding=1`.""",
        "zh": """输出只有**一个**通道的 3×3 卷积会让处理器的宽指令闲着；输出 9 个通道的 1×1 卷积则不会，
而两者其实相等：

$$(K * x)_p = \\sum_{t=0}^{8} (K_t \\cdot x)_{p + o_t}$$

抽头 $t$ 位于卷积核的第 $t // 3$ 行、第 $t \\bmod 3$ 列，因此它的偏移是
$o_t = (t // 3 - 1,\\; t \\bmod 3 - 1)$。图像之外一律为 0。

九张图 $K_t \\cdot x$ 以 `taps`（形状 `[B, 9, H, W]`）给出。请返回 `[B, 1, H, W]`，即 `padding=1`
的 3×3 卷积的输出。""",
    },
    starter=HEAD + "    ...\n",
    answer="shift_sum",
    hints=(
        {
            "en": "Pad `taps` with one row or column of zeros on every side: then each "
            "shift is a plain slice of size H × W.",
            "zh": "先在 `taps` 四周各补一圈零：这样每次平移就只是切出一块 H × W。",
        },
        {
            "en": "After padding, position p + offset of tap t begins at row t // 3 and "
            "column t % 3: `padded[:, t : t + 1, t // 3 : t // 3 + H, t % 3 : t % 3 + W]`.",
            "zh": "补零之后，抽头 t 的切片从第 t // 3 行、第 t % 3 列开始："
            "`padded[:, t : t + 1, t // 3 : t // 3 + H, t % 3 : t % 3 + W]`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "added without shifting": HEAD + "    return taps.sum(1, keepdim=True)\n",
        "shifted the other way": changed("t // 3, t % 3", "2 - t // 3, 2 - t % 3"),
        "wraps round at the border": HEAD
        + """    total = 0
    for t in range(9):
        total = total + taps[:, t : t + 1].roll((1 - t // 3, 1 - t % 3), (2, 3))
    return total
""",
        "rows for columns": changed("t // 3, t % 3", "t % 3, t // 3"),
        "one tap left out": changed("range(9)", "range(8)"),
        "the border repeated": changed(
            "(1, 1, 1, 1))", '(1, 1, 1, 1), mode="replicate")'
        ),
        "added up in the middle tap itself": changed(
            "    return total", "    return taps[:, 4:5].copy_(total)"
        ),
    },
    right={
        "without padding": HEAD
        + """    height, width = taps.shape[2:]
    total = torch.zeros_like(taps[:, 0])
    for t in reversed(range(9)):
        down, right = t // 3 - 1, t % 3 - 1
        for i in range(height):
            for j in range(width):
                if 0 <= i + down < height and 0 <= j + right < width:
                    total[:, i, j] += taps[:, t, i + down, j + right]
    return total.unsqueeze(1)
""",
        "NumPy in float64, seen backwards": "import numpy as np\n"
        + HEAD
        + """    height, width = taps.shape[2:]
    wide = np.pad(taps.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = [wide[:, t, t // 3 :, t % 3 :][:, :height, :width] for t in range(9)]
    return sum(rows)[:, None, ::-1].copy()[:, :, ::-1]
""",
        "a convolution with a kernel of ones and zeros": HEAD
        + """    kernel = torch.eye(9).view(1, 9, 3, 3).to(taps.dtype)
    return F.conv2d(taps, kernel, padding=1).requires_grad_()
""",
    },
    points=2,
    minutes=15,
)
