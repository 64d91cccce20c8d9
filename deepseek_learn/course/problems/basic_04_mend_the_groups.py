# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Three groups as indices: each neuron in exactly one, the boundaries stated."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

NAMES = ("core", "medium", "low")
NEAR = 1e-9  # beside a boundary; float32 cannot tell it apart


def check(answer, rng) -> None:
    expect.function(answer, "split_neurons")
    for trial in range(10):
        compare(answer, *draw(rng, trial))


def draw(rng, trial: int) -> tuple[torch.Tensor, float, float]:
    """Frequencies, `high` and `low`; both occur, as do values only just beside them."""
    neurons, positions = int(rng.integers(8, 40)), int(rng.integers(6, 25))
    low, high = np.sort(rng.choice(np.arange(1, positions), 2, replace=False))
    if trial == 1:
        low = high
    if trial == 2:  # all are medium
        low, high = 0, positions
    frequency = rng.integers(0, positions + 1, size=neurons) / positions
    high, low = float(high / positions), float(low / positions)
    edges = [low, high, low - NEAR, low + NEAR, high - NEAR, high + NEAR, 0.0, 1.0]
    frequency[: len(edges)] = np.clip(edges, 0, 1)
    frequency = rng.permutation(frequency)
    if trial > 6:  # one neuron alone: in the core, low, medium
        frequency = np.array([(high + NEAR, low - NEAR, high)[trial - 7]])
    return torch.from_numpy(frequency), high, low


def compare(answer, frequency: torch.Tensor, high: float, low: float) -> None:
    values = frequency.tolist()
    groups = expect.call(answer, frequency, high, low)
    groups = expect.parts(groups, 3, "split_neurons(...)")
    got: list[int | None] = [None] * len(values)
    for number, group in enumerate(groups):
        for neuron in indices(group, f"split_neurons(...)[{number}]", len(values)):
            if got[neuron] is not None:
                names = {"first": NAMES[got[neuron]], "second": NAMES[number]}
                raise Failed("mend_the_groups.twice", neuron=neuron, **names)
            got[neuron] = number
    for neuron, value in enumerate(values):
        want = 0 if value > high else 2 if value < low else 1
        if got[neuron] != want:
            facts = {"neuron": neuron, "frequency": value, "high": high, "low": low}
            facts |= {"want": NAMES[want]}
            if got[neuron] is None:
                raise Failed("mend_the_groups.lost", **facts)
            raise Failed("mend_the_groups.group", got=NAMES[got[neuron]], **facts)


def indices(group, what: str, neurons: int) -> list[int]:
    expect.tensor(group, what)
    if group.dtype != torch.int64 or group.dim() != 1:
        facts = {"got": str(group.dtype), "shape": list(group.shape)}
        raise Failed("mend_the_groups.not_indices", what=what, **facts)
    numbers = [int(n) for n in expect.numbers(group, what)]
    outside = [n for n in numbers if not 0 <= n < neurons]
    if outside:
        facts = {"got": outside[0], "last": neurons - 1}
        raise Failed("mend_the_groups.outside", what=what, **facts)
    return numbers


HEAD = "import torch\n\n\ndef split_neurons(frequency, high, low):\n"
CORE_AND_LOW = "    core = (frequency > high).nonzero()[:, 0]\n"
CORE_AND_LOW += "    low_ones = (frequency < low).nonzero()[:, 0]\n"

problem = Problem(
    id="mend_the_groups",
    version=2,
    lesson="dynamic_parameter_groups",
    stage="basic",
    title={"en": "Mend the groups", "zh": "修好分组"},
    prompt={
        "en": """The guide's groups hold weights and forget which neurons they came from. Yours hold **indices**.

Write `split_neurons(frequency, high, low)` for `frequency` `[N]` (float64, 0..1) and two numbers
`high >= low`. Return three index tensors `(core, medium, low)` (int64, one axis each) such that every
neuron stands in **exactly one** of them:

- core: the frequency is above `high`;
- low: it is below `low`;
- medium: all others, so both boundary values are medium.

A group may be empty. The order within a group does not matter.""",
        "zh": """指南的分组里存的是权重，却忘了它们来自哪些神经元。你的分组要存**索引**。

请编写 `split_neurons(frequency, high, low)`，其中 `frequency` 为 `[N]`（float64，取值 0..1），两个阈值满足 `high >= low`。返回三个索引张量 `(core, medium, low)`（int64，各有一个轴），使每个神经元**恰好**出现在其中一个里：

- core（核心组）：频率高于 `high`；
- low（低频组）：频率低于 `low`；
- medium（中频组）：其余全部，因此恰好等于阈值的都算中频。

某一组可以为空；组内的顺序不限。""",
    },
    starter=HEAD + "    ...\n",
    answer="split_neurons",
    hints=(
        {
            "en": "`mask.nonzero()` of a mask `[N]` has the shape `[n, 1]`: one row a hit. "
            "Take its column 0.",
            "zh": "对形状为 `[N]` 的掩码，`mask.nonzero()` 的形状是 `[n, 1]`：每个命中占一行。取它的第 0 列即可。",
        },
        {
            "en": "Python reads `low <= frequency <= high` as `(low <= frequency) and "
            "(frequency <= high)`, and `and` needs one truth value, not N. Write `&` "
            "between two masks in brackets.",
            "zh": "Python 把 `low <= frequency <= high` 理解为 `(low <= frequency) and (frequency <= high)`，而 `and` 只接受一个真假值，不接受 N 个。请给两个掩码各加括号，再用 `&` 连接。",
        },
    ),
    check=check,
    solution=HEAD
    + CORE_AND_LOW
    + """    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones
""",
    wrong={
        "frequencies instead of indices": HEAD
        + """    between = (low <= frequency) & (frequency <= high)
    return frequency[frequency > high], frequency[between], frequency[frequency < low]
""",
        "masks instead of indices": HEAD
        + """    between = (low <= frequency) & (frequency <= high)
    return frequency > high, between, frequency < low
""",
        "the chained comparison": HEAD
        + CORE_AND_LOW
        + "    return core, (low <= frequency <= high).nonzero()[:, 0], low_ones\n",
        "boundary values in no group": HEAD
        + CORE_AND_LOW
        + """    between = (low < frequency) & (frequency < high)
    return core, between.nonzero()[:, 0], low_ones
""",
        "boundary values in two groups": HEAD
        + CORE_AND_LOW.replace(">", ">=")
        + """    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones
""",
        "the upper boundary in core": HEAD
        + CORE_AND_LOW.replace(">", ">=")
        + """    between = (low <= frequency) & (frequency < high)
    return core, between.nonzero()[:, 0], low_ones
""",
        "the lower boundary in low": HEAD
        + CORE_AND_LOW.replace("<", "<=")
        + """    between = (low < frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones
""",
        "in float32": HEAD
        + "    frequency = frequency.float()\n"
        + CORE_AND_LOW
        + """    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones
""",
        "indices in int32": HEAD
        + CORE_AND_LOW
        + """    between = (low <= frequency) & (frequency <= high)
    return core.int(), between.nonzero()[:, 0].int(), low_ones.int()
""",
        "two axes": HEAD
        + """    between = (low <= frequency) & (frequency <= high)
    return (frequency > high).nonzero(), between.nonzero(), (frequency < low).nonzero()
""",
        "one index squeezed away": HEAD
        + """    between = (low <= frequency) & (frequency <= high)
    masks = frequency > high, between, frequency < low
    return [mask.nonzero().squeeze() for mask in masks]
""",
        "sorted in place": HEAD
        + """    order = frequency.argsort()
    frequency.copy_(frequency[order])
    between = (low <= frequency) & (frequency <= high)
    masks = frequency > high, between, frequency < low
    return [order[mask] for mask in masks]
""",
    },
    right={
        "neuron by neuron, in a list": HEAD
        + """    groups = [[], [], []]
    for neuron, value in enumerate(frequency.tolist()):
        groups[0 if value > high else 2 if value < low else 1].append(neuron)
    return [torch.tensor(group[::-1], dtype=torch.int64) for group in groups]
""",
        "cut out of the sorted order": HEAD
        + """    values, order = frequency.sort()
    start = torch.searchsorted(values, torch.tensor(low, dtype=torch.float64))
    end = torch.searchsorted(values, torch.tensor(high, dtype=torch.float64), right=True)
    return order[end:], order[start:end], order[:start]
""",
    },
    points=1,
    minutes=10,
)
