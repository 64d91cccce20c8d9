# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""How many steps a loss takes, from full runs of several lengths."""

import math
from itertools import pairwise

from ...optim import steps_to
from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "steps_to")
    kinds = ("between", "bumpy", "exact", "first", "level", "never", "rising", "bumpy")
    for kind in kinds:
        for _ in range(4):
            target, losses = draw(rng, kind)
            call = f"steps_to({target}, {losses})"
            got = expect.call(answer, target, losses)
            compare(got, target, losses, call)


def draw(rng, kind: str) -> tuple[float, dict[int, float]]:
    """A target and losses in any order of the budgets."""
    count = int(rng.integers(4, 7))
    budgets = rng.integers(20, 200) * 2 ** rng.permutation(8)[:count]
    ordered = sorted(int(b) for b in budgets)
    falls = rng.uniform(0.05, 0.3, count)
    values = dict(zip(ordered, (3 - falls.cumsum()).round(3).tolist(), strict=True))
    if kind in ("first", "level"):
        target = values[ordered[0]] + 0.02 * (kind == "first")
    elif kind == "never":
        target = values[ordered[-1]] - 0.02
    else:
        i = count - 1 if kind == "exact" else int(rng.integers(1, count - 2))
        i += kind == "rising"
        high, low = values[ordered[i - 1]], values[ordered[i]]
        target = low if kind == "exact" else low + rng.uniform(0.2, 0.8) * (high - low)
        if kind == "bumpy":  # a longer run misses it, the next one does not
            values[ordered[i + 1]] = round(target + 0.04, 3)
        if (
            kind == "rising"
        ):  # the last run that misses it was worse than the one before
            values[ordered[i - 1]] = round(values[ordered[i - 2]] + 0.04, 3)
    shuffled = {int(b): values[int(b)] for b in budgets}
    return round(float(target), 4), shuffled


def compare(got, target: float, losses: dict[int, float], call: str) -> None:
    want = steps_to(target, losses)
    if want is None:
        if got is not None:
            raise Failed("steps_to_the_target.never", call=call)
        return
    if got is None:
        raise Failed("steps_to_the_target.missed", call=call)
    value = float(expect.shape(got, (), call))
    if math.isclose(value, want, rel_tol=1e-6):
        return
    found = guesses(target, losses)
    made = {name for name, steps in found if math.isclose(value, steps, rel_tol=1e-6)}
    if len(made) == 1 and "best" not in made:  # else it may be either
        raise Failed(f"steps_to_the_target.{made.pop()}", call=call, want=want)
    raise Failed("expect.value", what=call, got=value, want=want)


def guesses(target: float, losses: dict[int, float]):
    """Known mistakes: name, steps."""
    budgets = sorted(losses)
    reached = [b for b in budgets if losses[b] <= target]
    if reached[0] == budgets[0]:
        ends = budgets[:2]
        yield "shorter", line(target, losses, *ends, log=True)
        yield "shorter", line(target, losses, *ends, log=False)
        return
    before = budgets[budgets.index(reached[0]) - 1]
    first = next(iter(losses))
    if losses[first] <= target and first != reached[0]:
        yield "order", first
    yield "budget", reached[0]
    yield "budget", before
    best = min(budgets[: budgets.index(reached[0])], key=losses.get)
    yield "best", line(target, losses, best, reached[0], log=True)
    yield "linear", line(target, losses, before, reached[0], log=False)
    for a, b in pairwise(budgets):
        if losses[b] <= target < losses[a]:  # the last one that stays
            last = line(target, losses, a, b, log=True)
    yield "last", last
    for a, b in pairwise(losses):
        if losses[b] <= target < losses[a]:
            yield "order", line(target, losses, a, b, log=True)
    yield "ends", line(target, losses, budgets[0], budgets[-1], log=True)


def line(target: float, losses, a: int, b: int, log: bool) -> float:
    """Where the line through the runs a and b meets the target."""
    if losses[a] == losses[b]:
        return math.nan
    along = (losses[a] - target) / (losses[a] - losses[b])
    return a * (b / a) ** along if log else a + along * (b - a)


START = "import math\n\n\n"
HEAD = START + "def steps_to(target, losses):\n"
BODY = """    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target:
            share = (losses[a] - target) / (losses[a] - losses[b])
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    return None
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="steps_to_the_target",
    version=2,
    lesson="deepopt",
    stage="basic",
    title={"en": "Steps to the target", "zh": "多少步达到目标"},
    prompt={
        "en": """"It needs 40 % fewer steps": fewer to reach what? Fix a loss as the target. Run the optimizer at several budgets, each run to its
own end with its own schedule, and look where the target is met.

Write `steps_to(target, losses)`; `losses` is a dict from the steps of a run to the loss at its end, in any order:

- take the budgets from the shortest on. Between the **first** one whose loss is at most the target and the one before it, the
  loss is taken for a straight line over the **logarithm** of the steps; return the steps at which this line meets the target;
- if already the shortest run reaches the target, return its steps: nothing is known of shorter ones;
- if no run reaches it, return `None`.""",
        "zh": """“步数少 40 %”：少到什么程度才算达到？先固定一个损失作为目标。让优化器在几种预算下训练，每次都按自己的学习率日程跑到底，再看目标在哪里达到。

请编写 `steps_to(target, losses)`；`losses` 是一个字典，从一次训练的步数对应到结束时的损失，顺序任意：

- 从最短的预算看起。在**第一个**损失不大于目标的预算和它前一个预算之间，把损失看作步数的**对数**的直线；返回这条直线达到目标处的步数；
- 如果最短的训练就已达到目标，返回它的步数：更短会怎样，我们并不知道；
- 如果没有一次达到，返回 `None`。""",
    },
    starter=HEAD + "    ...\n",
    answer="steps_to",
    hints=(
        {
            "en": "`budgets = sorted(losses)`, then go through neighbours: `for a, b in zip(budgets, budgets[1:])`. The first `b` "
            "with `losses[b] <= target` ends the search.",
            "zh": "先 `budgets = sorted(losses)`，再看相邻的两个：`for a, b in zip(budgets, budgets[1:])`。第一个满足 `losses[b] <= target` 的 `b` 就结束查找。",
        },
        {
            "en": "How far from `a` to `b` is it? `share = (losses[a] - target) / (losses[a] - losses[b])`. On the scale of logarithms "
            "that is `a * (b / a) ** share`.",
            "zh": "从 `a` 到 `b` 走了多远？`share = (losses[a] - target) / (losses[a] - losses[b])`。换到对数刻度上，就是 `a * (b / a) ** share`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "a line over the steps": changed(
            "math.exp(math.log(a) + share * (math.log(b) - math.log(a)))",
            "a + share * (b - a)",
        ),
        "the last budget that reaches it": HEAD
        + """    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return budgets[0]
    found = None
    for a, b in zip(budgets, budgets[1:]):
        if losses[b] <= target < losses[a]:
            share = (losses[a] - target) / (losses[a] - losses[b])
            found = a * (b / a) ** share
    return found
""",
        "not sorted": changed("sorted(losses)", "list(losses)"),
        "the budget itself": changed(
            "            share = (losses[a] - target) / (losses[a] - losses[b])\n            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))\n",
            "            return b\n",
        ),
        "shorter than the shortest": changed(
            "    if losses[budgets[0]] <= target:\n        return budgets[0]\n", ""
        ),
        "longer than the longest": changed(
            "    return None",
            "    share = (losses[a] - target) / (losses[a] - losses[b])\n    return a * (b / a) ** share",
        ),
        "the longest where none reaches it": changed("return None", "return b"),
        "None for the shortest": changed("return budgets[0]", "return None"),
        "a line through all": HEAD
        + """    budgets = sorted(losses)
    a, b = budgets[0], budgets[-1]
    if losses[a] <= target:
        return a
    if min(losses.values()) > target:
        return None
    share = (losses[a] - target) / (losses[a] - losses[b])
    return a * (b / a) ** share
""",
        "must be strictly below": changed("losses[b] <= target", "losses[b] < target"),
        "from the best run so far": changed(
            "            share = (losses[a]",
            "            a = min(budgets[: budgets.index(b)], key=losses.get)\n"
            "            share = (losses[a]",
        ),
    },
    points=2,
    minutes=15,
)
