# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A mutation that knows logarithmic axes and whole numbers."""

import math

from .. import expect
from ..problem import Failed, Problem

# (value, low, high, log, whole, step): ends, below zero, no step, a step too far
CASES = (
    (-5, -20, -1, False, True, 0.07),
    (-5, -20, -1, False, True, -0.07),
    (0.0, -1.0, 1.0, False, False, 0.25),
    (0.25, 0.0, 1.0, False, False, -0.5),
    (0.001, 0.001, 0.1, True, False, 0.0),
    (0.1, 0.001, 0.1, True, False, 0.3),
    (1, 1, 64, True, True, 1.5),
    (64, 1, 64, True, True, -0.5),
    (10, 1, 20, False, True, 0.01),  # less than half a number: it stays
    (30, 1, 64, True, True, -0.002),
    (9, 1, 20, False, True, 0.0),
)


def check(answer, rng) -> None:
    expect.function(answer, "mutate")
    cases = list(CASES)
    for trial in range(24):
        log, whole = bool(trial % 2), trial % 4 >= 2
        if whole:
            low, high = int(rng.integers(1, 5)), int(rng.integers(20, 200))
            value = int(rng.integers(low, high + 1))
        else:
            low, high = 10.0 ** rng.uniform(-5, -3), 10.0 ** rng.uniform(-1, 1)
            low, high = float(low), float(high)
            value = float(low * (high / low) ** rng.random())
        step = float(rng.normal(0, 0.5 if trial % 3 == 0 else 0.1))
        cases.append((value, low, high, log, whole, step))
    for case in cases:
        want, near_tie = reference(*case)
        if not near_tie:
            compare(expect.call(answer, *case), want, case)


def reference(value, low, high, log: bool, whole: bool, step: float):
    """The new value, and whether rounding might go either way."""
    scale, back = (math.log, math.exp) if log else (float, float)
    place = (scale(value) - scale(low)) / (scale(high) - scale(low)) + step
    place = min(max(place, 0.0), 1.0)
    moved = back(scale(low) + place * (scale(high) - scale(low)))
    if not whole:
        return moved, False
    return round(moved), abs(moved - math.floor(moved) - 0.5) < 1e-6


def compare(got, want, arguments: tuple) -> None:
    value, low, high, log, whole, step = arguments
    call = f"mutate({value:.6g}, {low:.6g}, {high:.6g}, {log}, {whole}, {step:.3f})"
    number = float(expect.shape(got, (), call))
    size = abs(want) if log else high - low
    if not low - 1e-9 * size <= number <= high + 1e-9 * size:
        raise Failed("move_on_its_scale.outside", call=call, got=number)
    if whole and number != round(number):
        raise Failed("move_on_its_scale.whole", call=call, got=number)
    if abs(number - want) > 1e-9 * size:
        other = low > 0 and reference(value, low, high, not log, whole, step)[0]
        if other and abs(number - other) <= 1e-9 * abs(other):
            kind = "logarithmic" if log else "linear"
            raise Failed(f"move_on_its_scale.{kind}", call=call, got=number, want=want)
        raise Failed("expect.value", what=call, got=number, want=want)


HEAD = "import math\n\n\ndef mutate(value, low, high, log, whole, step):\n"
BODY = """    scale = math.log if log else float
    a, b = scale(low), scale(high)
    place = (scale(value) - a) / (b - a) + step
    moved = a + min(max(place, 0), 1) * (b - a)
    moved = math.exp(moved) if log else moved
    moved = min(max(moved, low), high)
    return round(moved) if whole else moved
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="move_on_its_scale",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "Move on its own scale", "zh": "在各自的尺度上移动"},
    prompt={
        "en": """A mutation moves a hyperparameter by `step`, a share of its range: at `step=0.1` by a tenth of the way from `low` to
`high`. On a **logarithmic** axis the way is measured in the logarithm: from 0.001 to 0.01 is as far as from 0.01 to 0.1.

Write `mutate(value, low, high, log, whole, step)`: the moved value. It never leaves `low` to `high` (what would, stops at the
end). With `whole=True` it is rounded to the nearest whole number, **after** it has moved. `step` may be negative.""",
        "zh": """变异把一个超参数移动 `step`，即其取值范围的一个比例：`step=0.1` 就是移动从 `low` 到 `high` 全程的十分之一。在**对数**轴上，路程按对数计量：从 0.001 到 0.01 与从 0.01 到 0.1 一样远。

请编写 `mutate(value, low, high, log, whole, step)`，返回移动后的值。它不得超出 `low` 到 `high` 的范围（要越界的停在端点）。`whole=True` 时取最近的整数，而且要在移动**之后**取整。`step` 可以为负。""",
    },
    starter=HEAD + "    ...\n",
    answer="mutate",
    hints=(
        {
            "en": "Three stations: onto 0..1 (in the logarithm if `log`), add the step and clip, and back.",
            "zh": "分三步：换算到 0..1（`log` 时用对数）；加上 step 并截断；再换算回去。",
        },
        {
            "en": "place = (log value − log low) / (log high − log low) + step, clipped to 0..1; back with exp(log low + place · (log high − log low)); `round` comes last.",
            "zh": "place = (log value − log low) / (log high − log low) + step，截断到 0..1；再用 exp(log low + place · (log high − log low)) 换回；最后才 `round`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "always linear": changed("math.log if log", "float if log").replace(
            "math.exp(moved) if log else moved", "moved"
        ),
        "leaves the range": changed("min(max(place, 0), 1)", "place").replace(
            "    moved = min(max(moved, low), high)\n", ""
        ),
        "whole numbers not rounded": changed(
            "round(moved) if whole else moved", "moved"
        ),
        "a half added, then cut off": changed("round(moved)", "int(moved + 0.5)"),
        "at least one further": changed(
            "round(moved) if whole else moved",
            "(round(moved) if round(moved) != value else "
            "min(max(value + (1 if step > 0 else -1), low), high)) if whole else moved",
        ),
        "the logarithm rounded": changed(
            "moved = math.exp(moved) if log else moved",
            "moved = math.exp(round(moved)) if log else round(moved)",
        ),
        "the other way where the step is negative": changed("+ step", "+ abs(step)"),
        "rounded down": changed("round(moved)", "int(moved)"),
        "the step added to the logarithm itself": changed(
            "(scale(value) - a) / (b - a) + step",
            "(scale(value) + step - a) / (b - a)",
        ),
    },
    right={
        "by a power of the range": HEAD
        + """    if log:
        moved = value * (high / low) ** step
    else:
        moved = value + step * (high - low)
    moved = min(max(moved, low), high)
    return math.floor(moved + 0.5) if whole else moved
""",
    },
    points=2,
    minutes=15,
)
