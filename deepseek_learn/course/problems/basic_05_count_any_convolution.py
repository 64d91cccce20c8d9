# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The FLOPs of a convolution from its shapes: strides, groups, transposed or not."""

import torch
import torch.nn.functional as F

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "conv_flops")
    seen = set()
    while len(seen) < 8:  # each of transposed, grouped and strided, and not
        x, weight, stride, padding, transposed, groups = draw(rng)
        seen.add((transposed, groups > 1, stride > 1))
        ask(answer, x, weight, groups, stride, padding, transposed)
    for transposed in (False, True):
        for case in edges(rng, transposed):
            ask(answer, *case, transposed=transposed)
    ask(answer, (2, 4, 7, 9), (6, 4, 3, 3), 1)  # what is not given is as in the task


def edges(rng, transposed: bool) -> list[tuple]:
    """Input, weight, groups, stride, padding: where a formula is easily one off."""
    n, c = int(rng.integers(4, 9)), 2 * int(rng.integers(2, 5))
    rows = (c, c + 1) if transposed else (c + 1, c)
    return [
        ((3, c, 2 * n, 2 * n + 1), (*rows, 3, 3), 1, 2, 0),  # one side has a rest
        ((1, c, n, n), (*rows, n, n), 1, 1, 0),  # one position
        ((3, c, n, n + 1), (*rows, 1, 1), 1, 2, 0),
        ((3, c, n, n + 1), (*rows, 2, 2), 1, 1, 2),
        ((3, c, 2 * n, n), (c, 1, 3, 3), c, 2, 1),  # depthwise
        ((1, 1, n, n), (1, 1, 3, 3), 1, 1, 1),
    ]


def ask(answer, x, weight, groups, *options, **named) -> None:
    sizes = {"stride": 1, "padding": 0, "transposed": False}
    sizes |= dict(zip(sizes, options, strict=False)) | named
    y = shapes(x, weight, groups=groups, **sizes)
    words = [f"{key}={value}" for key, value in named.items()]
    call = f"conv_flops({', '.join(map(str, [x, weight, *options, *words]))})"
    got = expect.call(answer, x, weight, *options, **named)
    compare(got, call, x, weight, y, sizes["transposed"], groups)


def draw(rng) -> tuple:
    """Shapes of the input and of the weight as PyTorch keeps it, stride, padding, transposed, groups."""
    batch, size, kernel = (int(rng.integers(*r)) for r in ((3, 6), (7, 20), (3, 6)))
    c_in, c_out = (int(rng.choice([4, 6, 8])) for _ in range(2))
    transposed, groups = bool(rng.integers(2)), int(rng.choice([1, 2]))
    stride, padding = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    rows = (c_in, c_out // groups) if transposed else (c_out, c_in // groups)
    x = (batch, c_in, size, size + int(rng.integers(0, 4)))
    return x, (*rows, kernel, kernel), stride, padding, transposed, groups


def shapes(x, weight, stride, padding, transposed, groups) -> tuple:
    """The output's shape, by PyTorch itself: on the device "meta" nothing is computed."""
    convolve = F.conv_transpose2d if transposed else F.conv2d
    given, kernel = (torch.empty(size, device="meta") for size in (x, weight))
    y = convolve(given, kernel, stride=stride, padding=padding, groups=groups)
    return tuple(y.shape)


def compare(got, call: str, x, weight, y, transposed: bool, groups: int) -> None:
    # imported where it is used: it brings Triton along, some 80 MiB
    from torch.utils.flop_counter import conv_flop_count

    want = conv_flop_count(x, weight, y, transposed=transposed)
    value = expect.whole(got, call)
    if value == want:
        return
    outputs = conv_flop_count(x, weight, y, transposed=False)
    guesses = {"macs": want / 2, "groups": want * groups}
    guesses |= {"input": conv_flop_count(x, weight, y, transposed=True)}
    guesses |= {"output": outputs, "picture": want / x[0]}
    made = [name for name, guess in guesses.items() if value == guess]
    if len(made) == 1:  # else it may be either
        raise Failed(f"count_any_convolution.{made[0]}", call=call)
    raise Failed("expect.value", what=call, got=value, want=want)


HEAD = """from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
"""
SIZES = """    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
"""
COUNT = "    positions = x[0] * (x[2] * x[3] if transposed else height * width)\n"

problem = Problem(
    id="count_any_convolution",
    version=2,
    lesson="profiler",
    stage="basic",
    title={"en": "Count any convolution", "zh": "给任意卷积计数"},
    prompt={
        "en": """A paper gives shapes, not a program. Count the FLOPs from them (1 MAC = 2 FLOPs; a bias is not counted; what is
multiplied with padding is).

Write `conv_flops(x, weight, stride=1, padding=0, transposed=False)`:

- `x` is the input's shape `(B, C_in, H, W)`;
- `weight` is the weight's shape as PyTorch keeps it: `(C_out, C_in / groups, k, k)`, and of a
  transposed convolution `(C_in, C_out / groups, k, k)`;
- stride and padding are the same in both directions.

Return a whole number. There may be groups: you are not told how many, and need not know.""",
        "zh": """论文只给形状，不给程序。请由形状算出 FLOPs（1 次乘加 = 2 FLOPs；偏置不计；与填充相乘的也算）。

请编写 `conv_flops(x, weight, stride=1, padding=0, transposed=False)`：

- `x` 是输入的形状 `(B, C_in, H, W)`；
- `weight` 是 PyTorch 所存权重的形状：普通卷积为 `(C_out, C_in / groups, k, k)`，转置卷积为 `(C_in, C_out / groups, k, k)`；
- 步长和填充在两个方向上相同。

返回一个整数。卷积可能分组：不会告诉你分成几组，你也不需要知道。""",
    },
    starter=HEAD + "    ...\n",
    answer="conv_flops",
    hints=(
        {
            "en": "The lesson's rule: every weight is used once at each position. Of which tensor "
            "are the positions, the input's or the output's?",
            "zh": "课上的规则：在每个位置上，每个权重恰好用一次。这里的位置指输入的位置，还是输出的位置？",
        },
        {
            "en": "A convolution: output positions, and the output is `(H + 2 * padding - k) // "
            "stride + 1` high. A transposed one: input positions, whatever stride and padding are. "
            "The weight's shape already holds the groups; do not forget the batch.",
            "zh": "普通卷积数输出位置，输出高度为 `(H + 2 * padding - k) // stride + 1`；转置卷积数输入位置，与步长和填充无关。分组已经体现在权重的形状里；别忘了批。",
        },
    ),
    check=check,
    solution=HEAD + SIZES + COUNT + "    return 2 * prod(weight) * positions\n",
    wrong={
        "MACs": HEAD + SIZES + COUNT + "    return prod(weight) * positions\n",
        "output positions for all": HEAD
        + SIZES
        + """    if transposed:
        height, width = (
            (n - 1) * stride - 2 * padding + k
            for n, k in zip(x[2:], weight[2:], strict=True)
        )
    return 2 * prod(weight) * x[0] * height * width
""",
        "input positions for all": HEAD
        + "    return 2 * prod(weight) * x[0] * x[2] * x[3]\n",
        "one picture": HEAD
        + SIZES
        + COUNT
        + "    return 2 * prod(weight) * positions // x[0]\n",
        "a float": HEAD + SIZES + COUNT + "    return 2.0 * prod(weight) * positions\n",
        "rounded up": HEAD
        + SIZES.replace("(n + 2 * padding - k)", "-(-(n + 2 * padding - k)").replace(
            "// stride", "// stride)"
        )
        + COUNT
        + "    return 2 * prod(weight) * positions\n",
        "padding on one side": HEAD
        + SIZES.replace("2 * padding", "padding")
        + COUNT
        + "    return 2 * prod(weight) * positions\n",
        "a square picture": HEAD
        + SIZES
        + COUNT.replace("x[2] * x[3]", "x[2] ** 2").replace("* width", "* height")
        + "    return 2 * prod(weight) * positions\n",
        "another default": HEAD.replace("stride=1", "stride=2")
        + SIZES
        + COUNT
        + "    return 2 * prod(weight) * positions\n",
        "groups ignored": HEAD
        + SIZES
        + COUNT
        + "    c_out = weight[1] if transposed else weight[0]\n"
        + "    return 2 * c_out * x[1] * weight[2] * weight[3] * positions\n",
    },
    right={
        "over all positions": HEAD
        + """    sizes = x[2:]
    if not transposed:
        sizes = [len(range(0, n + 2 * padding - weight[2] + 1, stride)) for n in sizes]
    done = 2
    for number in (x[0], *sizes, *weight):
        done *= number
    return done
""",
        "counted by PyTorch": "import torch\n\n\n"
        + HEAD.split("\n", 3)[3]
        + """    given, kernel = torch.empty(x, device="meta"), torch.empty(weight, device="meta")
    if not transposed:
        groups = x[1] // weight[1]
        given = torch.conv2d(given, kernel, None, stride, padding, 1, groups)
    return torch.tensor(2 * kernel.numel() * given[:, 0].numel())
""",
    },
    points=2,
    minutes=15,
)
