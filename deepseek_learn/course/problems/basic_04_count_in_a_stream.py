# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Activation frequency from batches of any size, exact: sums, not means of means."""

import gc
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

TOLERANCE = 1e-9
WHAT = "counter.frequency()"
FIRST, MORE = 8, 64  # batches of a stream, to see what grows with them


def check(answer, rng) -> None:
    expect.function(answer, "ActivityCount")
    for trial in range(4):
        channels = 1 if trial == 3 else int(rng.integers(2, 9))
        batches = [draw(rng, channels) for _ in range(int(rng.integers(3, 7)))]
        batches[1] = batches[1][:1, :, :1, :1].clone()  # a single position
        if trial == 0:  # counts above 2048 and 32,767, where small types are not exact
            batches[2] = torch.ones(2, channels, 131, 170)
            batches[2][:, :, 0] = 0
        counter = expect.call(answer)
        for seen, y in enumerate(batches, 1):
            update(counter, y)
            if seen in (1, 3, len(batches)):  # asked on the way, counting goes on
                compare(frequency(counter), batches[:seen])
    keeps_nothing(answer, rng)


def draw(rng, channels: int) -> torch.Tensor:
    """Activations `[B, C, H, W]` of uneven batches; a third of them exactly zero."""
    pictures, height, width = (int(n) for n in rng.integers(1, 8, size=3))
    size = (pictures + 1, channels, height + 1, width + 1)
    own = rng.normal(size=(1, channels, 1, 1)) + rng.normal()  # a batch's own kind
    y = torch.from_numpy(rng.normal(size=size) + own).float()
    y[0, :, 0, 1] = 1e-30  # above zero, if only just
    y[0, :, 1, 0] = -1e-30
    return y.masked_fill(torch.from_numpy(rng.random(size) < 1 / 3), 0.0)


def update(counter, y: torch.Tensor) -> None:
    expect.call(lambda y: counter.update(y), y)


def frequency(counter):
    return expect.call(lambda: counter.frequency())


def compare(got, batches: list[torch.Tensor]) -> None:
    rows = [y.transpose(0, 1).flatten(1) for y in batches]  # [C, positions]
    every = torch.cat(rows, 1)
    want = (every > 0).double().mean(1)
    expect.tensor(got, WHAT, torch.float64)
    values = torch.from_numpy(expect.shape(got, want.shape, WHAT))
    if torch.allclose(values, want, rtol=0, atol=TOLERANCE):
        return
    if torch.allclose(values, want, rtol=0, atol=1e-6):  # not even one position
        raise Failed("count_in_a_stream.rounded")
    means = torch.stack([(r > 0).double().mean(1) for r in rows]).mean(0)
    pictures = (every > 0).double().sum(1) / sum(len(y) for y in batches)
    guesses = {"means": means, "zero": (every >= 0).double().mean(1)}
    guesses |= {"pictures": pictures, "last": (rows[-1] > 0).double().mean(1)}
    near = {key: (values - guess).abs().max() < 1e-6 for key, guess in guesses.items()}
    if sum(near.values()) == 1:  # else it may be either
        raise Failed(f"count_in_a_stream.{max(near, key=near.get)}")
    expect.close(got, want, WHAT, TOLERANCE)


def keeps_nothing(answer, rng) -> None:
    """A long stream of equal batches leaves no more in the counter than a short one."""
    batches = torch.from_numpy(rng.normal(size=(FIRST + MORE, 2, 3, 3, 3))).float()
    counter, held = expect.call(answer), []
    learners = {getattr(each, "__module__", None) for each in (answer, type(counter))}
    for count, y in enumerate(batches.unbind(), 1):
        update(counter, y.clone())
        if count in (FIRST, FIRST + MORE):
            held.append(expect.call(lambda: sum(map(size, reached(counter, learners)))))
    if held[1] - held[0] > 4 * MORE:  # a list grows by 8 bytes an entry
        facts = {"first": FIRST, "all": FIRST + MORE, "more": held[1] - held[0]}
        raise Failed("count_in_a_stream.kept", **facts)


def reached(root: Any, learners: set) -> Iterator[Any]:
    """All that an object refers to, also by its class and by globals of its methods.

    Libraries are left out: of classes and functions only the modules `learners` count.
    """
    seen, found = set(), [root]
    while found:
        each = found.pop()
        code = isinstance(each, (type, FunctionType))
        foreign = code and each.__module__ not in learners
        if id(each) in seen or foreign or isinstance(each, ModuleType):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, FunctionType):  # not all globals, only those it names
            found += [each.__globals__.get(name) for name in names(each.__code__)]
            found += [each.__closure__, each.__defaults__, each.__dict__]
        else:
            found += gc.get_referents(each)
        if isinstance(each, np.ndarray):  # what it is a view of
            found.append(each.base)


def names(code: CodeType) -> Iterator[str]:
    """The globals that a function uses, functions inside it included."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names(inner)


def size(value: Any) -> int:
    """Bytes, where their number can tell how much was kept; a small int is shared."""
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, int):
        return value.bit_length() // 8
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)


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
    version=2,
    lesson="dynamic_parameter_groups",
    stage="basic",
    title={"en": "Count in a stream", "zh": "边看边数"},
    prompt={
        "en": """Activations come batch by batch, and the batches are uneven: another number of pictures, other
heights and widths. Nothing but running sums may be kept.

Write the class `ActivityCount`:

- `update(y)` takes activations `y` `[B, C, H, W]`; `C` stays the same;
- `frequency()` returns a float64 tensor `[C]`: over **all** positions of all pictures seen so far,
  the share at which the channel is above zero. Zero itself is not active. It may be
  called at any time; counting goes on afterwards.

The answer must be exact: the same as if all pictures had come in one batch.""",
        "zh": """激活值一批一批地到来，而且各批并不一样大：图片数不同，高和宽也不同。除了累加的总数，什么都不许保存。

请编写类 `ActivityCount`：

- `update(y)` 接收激活值 `y`，形状为 `[B, C, H, W]`，其中 `C` 保持不变；
- `frequency()` 返回 float64 张量 `[C]`：在目前看过的所有图片的**全部**位置中，该通道大于零的比例。等于零不算激活。随时都可以调用它，之后继续累计。

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
        "all batches kept": counter(
            "self.batches.append(y.transpose(0, 1).flatten(1))",
            "return (torch.cat(self.batches, 1) > 0).double().mean(1)",
            "self.batches = []",
        ),
        "batches kept until asked": counter(
            "self.batches.append(y.clone())",
            "self.active = self.active + sum((y > 0).sum((0, 2, 3)) for y in self.batches)"
            + NEXT
            + "self.positions += sum(y.numel() // y.shape[1] for y in self.batches)"
            + NEXT
            + "self.batches.clear()"
            + NEXT
            + DIVIDE,
            "self.active, self.positions, self.batches = 0, 0, []",
        ),
        "all batches kept by the class": counter(
            "ActivityCount.batches.append((self, y.tolist()))",
            "kept = [torch.tensor(y) for owner, y in self.batches if owner is self]"
            + NEXT
            + "every = torch.cat([y.transpose(0, 1).flatten(1) for y in kept], 1)"
            + NEXT
            + "return (every > 0).double().mean(1)",
            "pass",
        ).replace("    def __init__", "    batches = []\n\n    def __init__"),
        "all batches kept by the module": "import numpy as np\nimport torch\n\nKEPT = {}\n"
        + counter(
            "old = KEPT.get(self, np.empty((y.shape[1], 0), bool))"
            + NEXT
            + "new = (y > 0).transpose(0, 1).flatten(1).numpy()"
            + NEXT
            + "KEPT[self] = np.append(old, new, 1)",
            "return torch.from_numpy(KEPT[self].mean(1))",
            "pass",
        ),
        "the counts of each batch kept": counter(
            "self.active.append((y > 0).sum((0, 2, 3)))"
            + NEXT
            + "self.positions += y.numel() // y.shape[1]",
            "return sum(self.active).double() / self.positions",
            "self.active, self.positions = [], 0",
        ),
        "starts anew when asked": counter(
            ADD + NEXT + POSITIONS,
            "result = self.active.double() / self.positions"
            + NEXT
            + "self.active, self.positions = 0, 0"
            + NEXT
            + "return result",
        ),
        "adds up again when asked": counter(
            ADD + NEXT + POSITIONS,
            "self.active = self.active.double() / self.positions"
            + NEXT
            + "return self.active",
        ),
        "changes the batch": counter(
            "y.clamp_(min=0)" + NEXT + ADD + NEXT + POSITIONS, DIVIDE
        ),
        "counts in one byte": counter(
            ADD.replace("sum((0, 2, 3))", "sum((0, 2, 3), dtype=torch.uint8)")
            + NEXT
            + POSITIONS,
            DIVIDE,
        ),
        "counts in two bytes": counter(
            ADD.replace("sum((0, 2, 3))", "sum((0, 2, 3), dtype=torch.int16)")
            + NEXT
            + POSITIONS,
            DIVIDE,
        ),
        "counts in half precision": counter(
            ADD.replace("(y > 0).sum", "(y > 0).half().sum") + NEXT + POSITIONS, DIVIDE
        ),
        "hardly above zero is not active": counter(
            ADD.replace("> 0", "> 1e-6") + NEXT + POSITIONS, DIVIDE
        ),
        "a float32 share": counter(
            ADD + NEXT + POSITIONS, "return self.active / self.positions"
        ),
        "a float32 share, called float64": counter(
            ADD + NEXT + POSITIONS, "return (self.active / self.positions).double()"
        ),
        "a single position squeezed away": counter(
            ADD.replace("y > 0", "y.squeeze() > 0") + NEXT + POSITIONS, DIVIDE
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
    right={
        "a running mean, weighted": counter(
            "n = y.numel() // y.shape[1]"
            + NEXT
            + "self.n += n"
            + NEXT
            + "now = (y > 0).double().mean((0, 2, 3))"
            + NEXT
            + "self.mean = self.mean + (now - self.mean) * n / self.n",
            "return self.mean.clone()",
            "self.mean, self.n = 0.0, 0",
        ),
        "lists of Python's integers": counter(
            "rows = y.transpose(0, 1).flatten(1).tolist()"
            + NEXT
            + "new = [[v > 0 for v in row] for row in rows]"
            + NEXT
            + "self.active = [sum(row) + old for row, old in zip(new, self.active or [0] * len(new))]"
            + NEXT
            + "self.positions += len(new[0])",
            "shares = [n / self.positions for n in self.active]"
            + NEXT
            + "return torch.tensor(shares, dtype=torch.float64)",
            "self.active, self.positions = [], 0",
        ),
        "a module with buffers": counter(
            "self.active = self.active + (y > 0).sum((0, 2, 3), dtype=torch.float64)"
            + NEXT
            + POSITIONS,
            "return torch.nn.Parameter(self.active / self.positions)",
            'super().__init__()\n        self.register_buffer("active", torch.zeros(()))'
            + NEXT
            + "self.positions = 0",
        ).replace("ActivityCount:", "ActivityCount(torch.nn.Module):"),
    },
    points=2,
    minutes=15,
)
