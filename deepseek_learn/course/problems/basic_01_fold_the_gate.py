# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A 3x3 gate read through the 1x1 convolution before it, exact at the border."""

import torch
import torch.nn.functional as F

from ...attention import shift_sum
from .. import expect
from ..problem import Failed, Problem

TOLERANCE = 1e-4  # the answer may compute in float32: some 500 products of size 1


def check(answer, rng) -> None:
    expect.function(answer, "fold_gate")

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape)).float()

    for trial in range(5):
        inner, outer = int(rng.integers(1, 6)), int(rng.integers(2, 12))
        if trial == 2:
            inner = outer = 1
        height, width = (int(n) for n in rng.integers(3, 8, size=2))
        x = draw(2, inner, height, width)
        given = draw(outer, inner), draw(outer), draw(1, outer, 3, 3)
        want = reference(x, *given)
        folded = expect.parts(expect.call(answer, *given), 2, "fold_gate(...)")
        compare(*folded, x.double(), want)


def reference(x, weight, bias, kernel) -> torch.Tensor:
    """First the 1x1 convolution, then the gate, in float64; `[B, 1, H, W]`."""
    wide = F.conv2d(x.double(), weight.double()[:, :, None, None], bias.double())
    return F.conv2d(wide, kernel.double(), padding=1)


def compare(tap_weight, tap_bias, x: torch.Tensor, want: torch.Tensor) -> None:
    pointwise = read(tap_weight, (9, x.shape[1]), "fold_gate(...)[0]")
    taps = F.conv2d(  # [B, 9, H, W]
        x, pointwise[:, :, None, None], read(tap_bias, (9,), "fold_gate(...)[1]")
    )
    got = shift_sum(taps)
    error = (got - want).abs()
    inside = error[:, :, 1:-1, 1:-1].max().item()
    rounding = TOLERANCE * max(1.0, want.abs().max().item())
    if inside <= rounding < error.max().item():
        raise Failed("fold_the_gate.border", error=error.max().item())
    expect.close(got, want, "shift_sum(taps)", TOLERANCE)


def read(got, shape: tuple[int, ...], what: str) -> torch.Tensor:
    return torch.from_numpy(expect.shape(got, shape, what))


HEAD = "import torch\n\n\ndef fold_gate(weight, bias, kernel):\n"
TAPS = "    K = kernel[0].flatten(1).T  # [9, M]\n"

problem = Problem(
    id="fold_the_gate",
    version=2,
    lesson="spatial_channel_attention",
    stage="basic",
    title={"en": "Fold the gate", "zh": "折叠空间门控"},
    prompt={
        "en": """In a ResNet block the spatial gate reads `M` channels that a 1×1 convolution has just made
from only `I` channels: $y = W x + b$, then $K * y$ with `padding=1`. Both are linear, so
the gate can read the *narrow* tensor $x$ directly and cost $M / I$ times less.

Write `fold_gate(weight, bias, kernel)` for `weight` `[M, I]`, `bias` `[M]` and `kernel`
`[1, M, 3, 3]`. Return the pair `(tap_weight, tap_bias)`, `[9, I]` and `[9]`, of a 1×1
convolution from $x$ to nine taps, such that `shift_sum(taps)` equals $K * y$
**everywhere**, the border included: there the padding's zeros stand for $y$, not for $x$.""",
        "zh": """在 ResNet 的残差块里，空间门控读取 `M` 个通道，而这些通道是 1×1 卷积刚从 `I` 个通道算出来的：先 $y = W x + b$，再做 `padding=1` 的 $K * y$。两步都是线性的，所以空间门控可以直接读取*较窄*的张量 $x$，代价只有原来的 $I / M$。

请编写 `fold_gate(weight, bias, kernel)`，其中 `weight` 为 `[M, I]`，`bias` 为 `[M]`，`kernel` 为 `[1, M, 3, 3]`。返回一对 `(tap_weight, tap_bias)`，形状为 `[9, I]` 和 `[9]`：它们是从 $x$ 到九个抽头的 1×1 卷积的权重和偏置，并且 `shift_sum(taps)` 要在**每一处**都等于 $K * y$，边界也不例外：边界外补的零代表的是 $y$，而不是 $x$。""",
    },
    starter=HEAD + "    ...\n",
    answer="fold_gate",
    hints=(
        {
            "en": "Tap t of the gate is $K_t \\cdot y$, and $y = W x + b$. Multiply out: "
            "what stands before $x$, and what is left over?",
            "zh": "空间门控的第 t 个抽头是 $K_t \\cdot y$，而 $y = W x + b$。把它展开：$x$ 前面是什么？剩下的又是什么？",
        },
        {
            "en": "`K = kernel[0].flatten(1).T` is `[9, M]`. Give each tap its own share "
            "of the bias, before the shift: then a tap that lies outside takes its "
            "bias with it.",
            "zh": "`K = kernel[0].flatten(1).T` 的形状是 `[9, M]`。在平移之前就给每个抽头加上它自己的那份偏置：这样，落在图外的抽头会连同偏置一起消失。",
        },
    ),
    check=check,
    solution=HEAD + TAPS + "    return K @ weight, K @ bias\n",
    wrong={
        "the bias forgotten": HEAD
        + TAPS
        + "    return K @ weight, torch.zeros_like(K[:, 0])\n",
        "no bias at all": HEAD + TAPS + "    return K @ weight, None\n",
        "the whole bias in the middle tap": HEAD
        + TAPS
        + """    tap_bias = torch.zeros_like(K[:, 0])
    tap_bias[4] = (K @ bias).sum()
    return K @ weight, tap_bias
""",
        "the kernel transposed": HEAD
        + TAPS.replace("kernel[0]", "kernel[0].transpose(1, 2)")
        + "    return K @ weight, K @ bias\n",
        "the taps backwards": HEAD
        + TAPS
        + "    return (K @ weight).flip(0), (K @ bias).flip(0)\n",
        "an equal share of the bias for each tap": HEAD
        + TAPS
        + "    return K @ weight, (K @ bias).mean().expand(9)\n",
        "the bias itself in each tap": HEAD
        + TAPS
        + "    return K @ weight, bias.sum().expand(9)\n",
    },
    right={
        "in float64": HEAD
        + TAPS
        + "    return K.double() @ weight.double(), K.double() @ bias.double()\n",
        "in float32, tap by tap": HEAD
        + """    taps = [kernel[0, :, t // 3, t % 3].float() for t in range(9)]
    rows = [sum(k[m] * weight[m] for m in range(len(k))) for k in taps]
    return [torch.stack(rows), torch.stack([k.dot(bias) for k in taps])]
""",
        "in NumPy, with negative strides": HEAD
        + """    K = kernel[0].flatten(1).numpy().T[::-1]
    return (K @ weight.numpy())[::-1], (K @ bias.numpy())[::-1]
""",
        "a parameter": HEAD
        + TAPS
        + "    return torch.nn.Parameter(K @ weight), torch.einsum('tm,m->t', K, bias)\n",
    },
    points=3,
    minutes=25,
)
