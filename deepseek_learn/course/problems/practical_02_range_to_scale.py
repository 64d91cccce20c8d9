# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Scale and zero point of an asymmetric 8-bit tensor, where 0.0 must be exact."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

RANGES = (
    (0.0, 6.0),
    (-1.0, 3.0),
    (0.5, 2.0),
    (-4.0, -1.0),
    (-0.3, 0.0),
    (2.0, 2.0),
    (-3.0, -3.0),
    (0.0, 0.0),
)


def check(answer, rng) -> None:
    expect.function(answer, "scale_and_zero")
    drawn = [
        tuple(sorted(rng.normal(0, 10 ** rng.uniform(-2, 2), 2))) for _ in range(8)
    ]
    for low, high in [*RANGES, *drawn]:
        call = f"scale_and_zero({low:.4g}, {high:.4g})"
        found = expect.parts(expect.call(answer, float(low), float(high)), 2, call)
        scale, zero = (float(expect.shape(part, (), call)) for part in found)
        compare(scale, zero, min(low, 0.0), max(high, 0.0), (low, high), call)


def compare(scale, zero, low, high, given, call: str) -> None:
    if not np.isfinite(zero) or zero != round(zero):
        raise Failed("range_to_scale.whole", call=call, zero=zero)
    width = high - low
    if width == 0 and not (np.isfinite(scale) and scale > 0):
        raise Failed("range_to_scale.empty", call=call, scale=scale)
    if width > 0 and not near(scale, width / 255):
        if near(scale, (given[1] - given[0]) / 255):
            raise Failed("range_to_scale.contain", call=call)
        if near(scale, width / 256):
            raise Failed("range_to_scale.steps", call=call)
        raise Failed("expect.value", what=f"{call}[0]", got=scale, want=width / 255)
    if not 0 <= zero <= 255:
        raise Failed("range_to_scale.code", call=call, zero=zero)
    if width > 0 and abs(zero - (-low / width * 255)) > 0.5001:
        raise Failed("range_to_scale.zero", call=call, zero=zero, low=low)


def near(scale: float, want: float) -> bool:
    return bool(np.isclose(scale, want, rtol=1e-6, atol=0))


HEAD = "def scale_and_zero(low, high):\n"

problem = Problem(
    id="range_to_scale",
    version=2,
    lesson="deploy",
    stage="practical",
    title={"en": "From a range to a scale", "zh": "从取值范围到缩放系数"},
    prompt={
        "en": """Calibration has seen the smallest and the largest value of a tensor. Write `scale_and_zero(low, high)`, which returns
`(scale, zero)` for codes $q$ from 0 to 255, so that $\\hat x = \\text{scale} \\cdot (q - \\text{zero})$.

The real number 0.0 must have a code of its own, exactly: a ReLU and a convolution's padding are full of zeros. So widen the range
until it contains 0, let the codes from 0 to 255 span exactly its width, and make `zero` a whole number from 0 to 255.
For a range of nothing but 0, any positive scale will do.""",
        "zh": """校准得到了一个张量的最小值和最大值。请编写 `scale_and_zero(low, high)`，返回 `(scale, zero)`，编码 $q$ 取 0 到 255，使得
$\\hat x = \\text{scale} \\cdot (q - \\text{zero})$。

实数 0.0 必须恰好有自己的编码：ReLU 的输出和卷积的填充里到处是零。因此要先把范围扩大到包含 0，让编码 0 到 255 恰好跨满它的宽度，再让 `zero` 为 0 到 255 的整数。
如果范围里只有 0，任何正的缩放系数都可以。""",
    },
    starter=HEAD + "    ...\n",
    answer="scale_and_zero",
    hints=(
        {
            "en": "First `low, high = min(low, 0.0), max(high, 0.0)`. How many *steps* are there between 256 codes?",
            "zh": "先令 `low, high = min(low, 0.0), max(high, 0.0)`。256 个编码之间有多少*步*？",
        },
        {
            "en": "`scale = (high - low) / 255`, and `low` is to become the code 0: `zero = round(-low / scale)`.",
            "zh": "`scale = (high - low) / 255`，并且 `low` 对应编码 0：`zero = round(-low / scale)`。",
        },
    ),
    check=check,
    solution=HEAD
    + """    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)
""",
    wrong={
        "zero outside": HEAD
        + "    scale = (high - low) / 255 or 1.0\n    return scale, round(-low / scale)\n",
        "256 steps": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 256 or 1.0\n    return scale, round(-low / scale)\n",
        "no whole number": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 255 or 1.0\n    return scale, -low / scale\n",
        "the other sign": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 255 or 1.0\n    return scale, round(high / scale)\n",
        "a step to spare at each end": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 253 or 1.0\n    return scale, 1 + round(-low / scale)\n",
        "no code for nothing but 0": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 255\n    return (scale, round(-low / scale)) if scale else (1.0, 300)\n",
        "a scale of 0": HEAD
        + "    low, high = min(low, 0.0), max(high, 0.0)\n    scale = (high - low) / 255\n    return scale, round(-low / scale) if scale else 0\n",
    },
    right={
        "in NumPy, float32": "import numpy as np\n\n\n"
        + HEAD
        + """    ends = np.array([min(low, 0), max(high, 0)], "float32")
    scale = np.float32((ends[1] - ends[0]) / 255)
    if scale == 0:
        return np.float32(1), np.int64(0)
    return scale, np.rint(-ends[0] / scale).astype(int)
""",
    },
    points=1,
    minutes=10,
)
