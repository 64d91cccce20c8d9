# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Activation frequency from batches of any size, exact: sums, not means of means."""

import torch

from .. import expect
from ..problem import Failed, Problem

TOLERANCE = 1e-9


def check(answer, rng) -> None:
    expect.function(answer, "ActivityCount")
    for _ in range(4):
        channels = int(rng.integers(2, 9))
        batches = [draw(rng, channels) for _ in range(int(rng.integers(3, 7)))]
        counter = expect.call(answer)
        for y in batches:
            expect.call(lambda counter=counter, y=y: counter.update(y.clone()))
        got = expect.call(lambda counter=counter: counter.frequency())
        compare(got, batches)


def draw(rng, channels: int) -> torch.Tensor:
    """Activations `[B, C, H, W]` of uneven batches; a third of them exactly zero."""
    pictures, height, width = (int(n) for n in rng.integers(1, 8, size=3))
    size = (pictures, channels, height, width)
    lean = (
        rng.normal(size=(1, channels, 1, 1)) + rng.normal()
    )  # a batch of its own kind
    y = torch.from_numpy(rng.normal(size=size) + lean).float()
    return y.masked_fill(torch.from_numpy(rng.random(size) < 1 / 3), 0.0)


def compare(got, batches: list[torch.Tensor]) -> None:
    what = "counter.frequency()"
    rows = [y.transpose(0, 1).flatten(1) for y in batches]  # [C, positions]
    every = torch.cat(rows, 1)
    want = (every > 0).double().mean(1)
    values = torch.from_numpy(expect.shape(got, want.shape, what))
    means = torch.stack([(r > 0).double().mean(1) for r in rows]).mean(0)
    pictures = (every > 0).double().sum(1) / sum(len(y) for y in batches)
    guesses = {"means": means, "zero": (every >= 0).double().mean(1)}
    guesses |= {"pictures": pictures, "last": (rows[-1] > 0).double().mean(1)}
    if not torch.allclose(values, want, rtol=0, atol=TOLERANCE):
        for name, guess in guesses.items():
            if torch.allclose(values, guess, rtol=0, atol=1e-6):
                raise Failed(f"count_in_a_stream.{name}")
    expect.close(got, want, what, TOLERANCE)


def counter(
    update: str, frequency: str, start: str = "self.active, self.positions = 0, 0"
):
    return f"""import torch


class ActivityCount:
    def __init__(self):
        {start}

    def update(self, y):
        {update}

    def frequency(self):
        {frequency}
"""


ADD = "self.active = self.active + (y > 0).sum((0, 2, 3))"
POSITIONS = "self.positions += y.numel() // y.shape[1]"
DIVIDE = "return self.active.double() / self.positions"
NEXT = "\n        "

problem = Problem(
    id="count_in_a_stream",
    version=1,
    lesson="dynamic_parameter_groups",
    stage="basic",
    title={"en": "Count in a stream", "zh": "边看边数"},
    prompt={
        "en": """Activations come batch by batch, and the batches are uneven: another number of pictures, other
heights and widths. Nothing but running sums may be kept.

Write the class `ActivityCount`:

- `update(y)` takes activations `y` `[B, C, H, W]`; `C` stays the same;
- `frequency()` returns a float64 tensor `[C]`: over **all** positions of all pictures seen so far,
  the share at which the channel is above zero. Zero itself is not active.

The answer must be exact: the same as if all pictures had come in one batch.""",
        "zh": """激活值一批一批地到来，而且各批并不一样大：图片数不同，高和宽也不同。除了累加的总数，什么都不许保存。

请编写类 `ActivityCount`：

- `update(y)` 接收激活值 `y`，形状为 `[B, C, H, W]`，其中 `C` 保持不变；
- `frequency()` 返回 float64 张量 `[C]`：在目前看过的所有图片的**全部**位置中，该通道大于零的比例。等于零不算激活。

结果必须精确：要与所有图片作为一批送入时完全相同。""",
    },
    starter=counter("...", "...", "..."),
    answer="ActivityCount",
    hints=(
        {
            "en": "A mean forgets how many values it stands for. Which two whole numbers, "
            "added up over the batches, give the share at the end?",
            "zh": "平均值会忘记自己代表多少个数。把哪两个整数逐批累加，最后就能算出比例？",
        },
        {
            "en": "`(y > 0).sum((0, 2, 3))` counts for each channel; the positions of a "
            "batch are B × H × W, the same for all channels. Divide in float64: "
            "`active.double() / positions`.",
            "zh": "`(y > 0).sum((0, 2, 3))` 按通道计数；一批的位置数是 B × H × W，各通道相同。最后用 float64 相除：`active.double() / positions`。",
        },
    ),
    check=check,
    solution=counter(ADD + NEXT + POSITIONS, DIVIDE),
    wrong={
        "the mean of the batches' means": counter(
            "self.means.append((y > 0).double().mean((0, 2, 3)))",
            "return torch.stack(self.means).mean(0)",
            "self.means = []",
        ),
        "divided by the number of pictures": counter(
            ADD + NEXT + "self.positions += len(y)", DIVIDE
        ),
        "zero counted as active": counter(
            ADD.replace(">", ">=") + NEXT + POSITIONS, DIVIDE
        ),
        "the last batch only": counter(
            "self.active = (y > 0).sum((0, 2, 3))"
            + NEXT
            + "self.positions = y.numel() // y.shape[1]",
            DIVIDE,
        ),
        "all channels together": counter(
            "self.active += (y > 0).sum()" + NEXT + "self.positions += y.numel()",
            DIVIDE,
        ),
        "counts shared by all counters": counter(
            "ActivityCount.active = ActivityCount.active + (y > 0).sum((0, 2, 3))"
            + NEXT
            + "ActivityCount.positions += y.numel() // y.shape[1]",
            DIVIDE,
            "pass",
        ).replace("    def __init__", "    active = positions = 0\n\n    def __init__"),
    },
    points=2,
    minutes=15,
)
