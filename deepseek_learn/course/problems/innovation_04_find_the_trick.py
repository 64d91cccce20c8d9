# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The honest ratio of steps from a table of runs, out of which many others can be read."""

import math
from collections.abc import Iterator
from itertools import product
from statistics import fmean

from ...optim import steps_to
from .. import expect
from ..problem import Failed, Problem

RATES = (0.001, 0.003, 0.01, 0.03)
FINAL = (1, 2, 3)  # seed 0 tunes
PARTS = {"validation": 0.0, "test": 0.04}  # what is added to the loss
APART = 0.03  # of a trick's ratio from the honest one, at least
CALL = "honest(runs)"

Table = dict[tuple, float]  # optimizer, lr, steps, seed, part → loss


def check(answer, rng) -> None:
    expect.function(answer, "honest")
    for slip, reaches in enumerate((True, True, True, False, True, True)):
        table = draw(rng, reaches, slip)
        runs = [
            dict(zip(("optimizer", "lr", "steps", "seed", "part"), key, strict=True))
            | {"loss": loss}
            for key, loss in table.items()
        ]
        got = expect.call(answer, [runs[i] for i in rng.permutation(len(runs))])
        compare(got, table)


def draw(rng, reaches: bool, slip: int) -> Table:
    """Runs of which no trick gives nearly the honest ratio, nor two of them the same.

    One slip, another in each table, does not give the honest ratio either.
    """
    while True:
        table = invent(rng, reaches)
        want = ratio(table)
        if (want is not None) != reaches:
            continue
        found = list(tricks(table))
        named = {(name, trick) for name, trick in found if trick is not None}
        distinct = len(named) == len({trick for _, trick in named})
        slipped = [*slips(table)]
        found.append(slipped[slip % len(slipped)])
        if distinct and all(differs(trick, want) for _, trick in found):
            return table


def invent(rng, reaches: bool) -> Table:
    longest = 100 * int(rng.integers(4, 13))
    budgets = {"a": [longest // 4, longest // 2, longest]}
    last = int(rng.choice([3 * longest // 2, 2 * longest]))
    budgets["b"] = [longest // 8, longest // 4, longest // 2, last]
    height = {"a": 1.0, "b": rng.uniform(0.7, 0.85) if reaches else 1.4}
    table = {}
    for optimizer, steps in budgets.items():
        off = rng.permutation([0.0, 0.03, rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.4)])
        for lr, worse in zip(RATES, off, strict=True):
            tilt = rng.normal(0, 0.06)  # the best rate depends on the budget
            for seed, (part, gap) in product((0, *FINAL), PARTS.items()):
                luck = rng.normal(0, 0.03)  # of this seed and part
                for n in steps:
                    rate = 1 + worse + tilt * math.log2(steps[-1] / n)
                    curve = height[optimizer] * (100 / n) ** 0.5 * rate
                    value = 0.2 + gap + curve + luck + rng.normal(0, 0.002)
                    table[optimizer, lr, n, seed, part] = float(value)
        spoil(table, optimizer, RATES[int(rng.choice(off.argsort()[2:]))], *steps[-2:])
    return table


def spoil(table: Table, optimizer: str, lr: float, short: int, long: int) -> None:
    """Make a rate the best of all in a shorter run, and bad in the longest."""
    for seed, part in product((0, *FINAL), PARTS):
        best = min(table[optimizer, other, long, seed, part] for other in RATES)
        table[optimizer, lr, short, seed, part] = best - 0.05
        table[optimizer, lr, long, seed, part] += 0.3


def steps_of(table: Table, optimizer: str) -> list[int]:
    return sorted({key[2] for key in table if key[0] == optimizer})


def tuned(table: Table, optimizer: str, which: int = -1) -> float:
    """The rate with the least validation loss of the tuning seed."""
    steps = steps_of(table, optimizer)[which]
    return min(RATES, key=lambda lr: table[optimizer, lr, steps, 0, "validation"])


def tuned_anywhere(table: Table, optimizer: str) -> float:
    """The rate with the least validation loss at any budget."""

    def least(lr: float) -> float:
        steps = steps_of(table, optimizer)
        return min(table[optimizer, lr, n, 0, "validation"] for n in steps)

    return min(RATES, key=least)


def lucky(table: Table, optimizer: str, steps: int | None = None, **how) -> float:
    """The rate with the least test loss of the final seeds."""
    steps = steps or steps_of(table, optimizer)[-1]
    return min(RATES, key=lambda lr: loss(table, optimizer, lr, steps, **how))


def loss(table: Table, optimizer, lr, steps, part="test", seeds=FINAL, pool=fmean):
    return pool(table[optimizer, lr, steps, seed, part] for seed in seeds)


def ratio(table: Table, a=None, b=None, each_budget=False, **how) -> float | None:
    """Steps of b over a's. `a` and `b` are their rates, by default the tuned ones."""
    a, b = a or tuned(table, "a"), b or tuned(table, "b")
    longest = steps_of(table, "a")[-1]
    target = loss(table, "a", a, longest, **how)
    curve = {}
    for steps in steps_of(table, "b"):
        rate = lucky(table, "b", steps) if each_budget else b
        curve[steps] = loss(table, "b", rate, steps, **how)
    steps = steps_to(target, curve)
    return None if steps is None else steps / longest


def tricks(table: Table) -> Iterator[tuple[str, float | None]]:
    """What is wrong, the ratio that it gives."""
    a, b = lucky(table, "a"), lucky(table, "b")
    yield "test", ratio(table, a, b)
    yield "test", ratio(table, b=b)
    yield "shortest", ratio(table, tuned(table, "a", 0), tuned(table, "b", 0))
    anywhere = tuned_anywhere(table, "a"), tuned_anywhere(table, "b")
    yield "any_budget", ratio(table, *anywhere)
    yield "best_seed", ratio(table, pool=min)
    yield "tuning_seed", ratio(table, seeds=(0, *FINAL))
    yield "tuning_seed", ratio(table, seeds=(0,))
    yield "validation", ratio(table, part="validation", seeds=(0,))
    yield "validation", ratio(table, part="validation")
    yield "each_budget", ratio(table, each_budget=True)
    for lr in RATES:
        if lr != tuned(table, "a"):
            yield "untuned", ratio(table, lr)


def slips(table: Table) -> Iterator[tuple[str, float | None]]:
    """Ways to other rates; the ratio may be that of a trick with the same rates."""
    yield "others_rate", ratio(table, b=tuned(table, "a"))
    for seeds in ((0, *FINAL), FINAL):
        how = {"part": "validation", "seeds": seeds}
        yield "seeds", ratio(table, *(lucky(table, o, **how) for o in "ab"))
    for seeds in ((0, *FINAL), (0,)):
        yield "test", ratio(table, *(lucky(table, o, seeds=seeds) for o in "ab"))


def mixed_up(table: Table, want: float | None) -> Iterator[tuple[str, float]]:
    if want is not None:
        yield "steps", want * steps_of(table, "a")[-1]
        yield "inverse", 1 / want


def differs(trick: float | None, want: float | None) -> bool:
    if trick is None or want is None:
        return True
    return abs(math.log(trick / want)) > APART


def compare(got, table: Table) -> None:
    want = ratio(table)
    value = None if got is None else float(expect.shape(got, (), CALL))
    if same(value, want):
        return
    if value is not None:
        found = (*tricks(table), *slips(table), *mixed_up(table, want))
        fits = {name for name, other in found if same(value, other)}
        if len(fits) == 1:
            raise Failed(f"find_the_trick.{fits.pop()}", got=value)
        if fits:
            rates = {o: tuned(table, o) for o in "ab"}
            raise Failed("find_the_trick.several", got=value, **rates)
    if want is None:
        raise Failed("find_the_trick.never", got=value)
    if value is None:
        raise Failed("find_the_trick.missed", want=want)
    raise Failed("expect.value", what=CALL, got=value, want=want)


def same(value: float | None, other: float | None) -> bool:
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=1e-6)


HEAD = """from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
"""
BODY = """    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])
        return best["lr"], longest

    def mean(*wanted):
        names = "optimizer", "lr", "steps"
        rows = [r for r in runs if tuple(r[name] for name in names) == wanted]
        final = [r for r in rows if r["seed"] != 0 and r["part"] == "test"]
        return fmean(r["loss"] for r in final)

    rate, longest = tuned("a")
    target = mean("a", rate, longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest
"""
LUCKY = """min(
        {r["lr"] for r in runs}, key=lambda lr: mean("b", lr, max(budgets))
    )
    steps ="""


def changed(*changes: tuple[str, str]) -> str:
    body = BODY
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    return HEAD + body


def pooled(wanted: str) -> str:
    """Rates by the mean loss of these runs at the longest budget."""
    tuning = 'tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]'
    best = 'best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])'
    by_mean = """best = min(tuning, key=lambda t: fmean(
            r["loss"] for r in tuning if (r["lr"], r["steps"]) == (t["lr"], longest)
        ))"""
    return changed((tuning, f"tuning = [r for r in own if {wanted}]"), (best, by_mean))


ON_TEST = ('seed=0, part="validation"))', 'part="test"))')
ONE_SEED = ("fmean(r", "min(r")

problem = Problem(
    id="find_the_trick",
    version=3,
    lesson="beat_deepopt",
    stage="innovation",
    title={"en": "Find the trick", "zh": "找出花招"},
    prompt={
        "en": """A colleague has trained with two optimizers and sends all runs: which ratio of steps is honest? From the same table one can read
almost any ratio: leave the rival untuned, choose the rate on the test part, report the best seed.

Write `honest(runs)`. `runs` is a list, in any order, of dicts
`{"optimizer": "a" or "b", "lr": 0.01, "steps": 800, "seed": 0, "part": "validation" or "test", "loss": 0.71}`; each
optimizer was trained with every rate, budget and seed. **Seed 0 tunes, and only that; all others are the final seeds.**

1. Each optimizer's rate: the one with the least validation loss of seed 0 at that optimizer's longest budget.
2. The target: the mean test loss over the final seeds of `a`, with its rate, at its longest budget.
3. The curve of `b`: the mean test loss over the final seeds, with its one rate, at each of its budgets.
4. Return the steps that `b` needs to reach the target (`deepseek_learn.optim.steps_to`), divided by `a`'s longest budget; `None`
   if `b` never reaches it.""",
        "zh": """一位同事用两个优化器做了训练，把全部记录发了过来：哪个步数之比是公平的？从同一张表里，几乎可以读出任何比值：对手不调参，在测试部分上选学习率，只报告最好的种子。

请编写 `honest(runs)`。`runs` 是字典的列表，顺序任意，每个字典形如 `{"optimizer": "a" 或 "b", "lr": 0.01, "steps": 800, "seed": 0, "part": "validation" 或 "test", "loss": 0.71}`；每个优化器都用每种学习率、每种预算和每个种子训练过。**种子 0 只用于调参；其余都是最终种子。**

1. 每个优化器的学习率：在该优化器的最长预算下，种子 0 的验证损失最小的那个。
2. 目标：`a` 用选定的学习率，在它的最长预算下，最终种子的平均测试损失。
3. `b` 的曲线：用选定的同一个学习率，在它的每个预算下，最终种子的平均测试损失。
4. 返回 `b` 达到目标所需的步数（`deepseek_learn.optim.steps_to`）除以 `a` 的最长预算；如果 `b` 从未达到，返回 `None`。""",
    },
    starter=HEAD + "    ...\n",
    answer="honest",
    hints=(
        {
            "en": "Three small functions help: the budgets of an optimizer, its tuned rate, and the mean loss of the runs that fit "
            "`optimizer`, `lr`, `steps` and `part`. `pandas.DataFrame(runs)` with `query` or `groupby` does as well.",
            "zh": "三个小函数会有帮助：某个优化器的预算、它调好的学习率，以及符合 `optimizer`、`lr`、`steps` 和 `part` 的训练的平均损失。用 `pandas.DataFrame(runs)` 加 `query` 或 `groupby` 也行。",
        },
        {
            "en": "Seed 0 appears in step 1 only, the test part only in steps 2 and 3. The curve is a dict "
            "`{steps: mean test loss}`; then `steps_to(target, curve)`, which may be None.",
            "zh": "种子 0 只出现在第 1 步，测试部分只出现在第 2、3 步。曲线是字典 `{步数: 平均测试损失}`；然后 `steps_to(target, curve)`，结果可能是 None。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "the rival's rate is not tuned": changed(
            ('mean("a", rate,', 'mean("a", min(r["lr"] for r in runs),')
        ),
        "the rival gets b's rate": changed(
            ('mean("a", rate,', 'mean("a", tuned("b")[0],')
        ),
        "b gets its rival's rate": changed(
            ('rate, _ = tuned("b")', 'rate, _ = tuned("a")')
        ),
        "rates chosen by the validation of all seeds": pooled(
            'r["part"] == "validation"'
        ),
        "rates chosen by the validation of the final seeds": pooled(
            'r["seed"] and r["part"] == "validation"'
        ),
        "rates chosen by the tuning seed's test part": pooled(
            'r["seed"] == 0 and r["part"] == "test"'
        ),
        "rates chosen by the test part of all seeds": pooled('r["part"] == "test"'),
        "tuned at the shortest budget": changed(
            ('r["steps"] == longest', 'r["steps"] == min(o["steps"] for o in own)')
        ),
        "tuned at any budget": changed(
            ('(r for r in tuning if r["steps"] == longest)', "tuning")
        ),
        "b's rate chosen on the test part": changed(
            ("    steps =", f"    rate = {LUCKY}"),
        ),
        "rates chosen on the test part": HEAD
        + """    def mean(optimizer, lr, steps):
        rows = [r for r in runs if (r["optimizer"], r["lr"], r["steps"]) == (optimizer, lr, steps)]
        return fmean(r["loss"] for r in rows if r["seed"] and r["part"] == "test")

    rates = {r["lr"] for r in runs}
    budgets = {o: {r["steps"] for r in runs if r["optimizer"] == o} for o in "ab"}
    best = {o: min(rates, key=lambda lr: mean(o, lr, max(budgets[o]))) for o in "ab"}
    longest = max(budgets["a"])
    curve = {n: mean("b", best["b"], n) for n in budgets["b"]}
    steps = steps_to(mean("a", best["a"], longest), curve)
    return None if steps is None else steps / longest
""",
        "the best seed of each": changed(("fmean(r", "min(r")),
        "the tuning seed among the final ones": changed(('r["seed"] != 0 and ', "")),
        "the losses of the tuning seed": changed(
            (
                'r["seed"] != 0 and r["part"] == "test"',
                'r["seed"] == 0 and r["part"] == "validation"',
            )
        ),
        "both parts together": changed((' and r["part"] == "test"', "")),
        "another rate at each budget, chosen on the test part": changed(
            (
                '{n: mean("b", rate, n) for',
                '{n: min(mean("b", r["lr"], n) for r in runs) for',
            )
        ),
        "steps instead of a ratio": changed(("steps / longest", "steps")),
        "the wrong way round": changed(("steps / longest", "longest / steps")),
        "over b's longest budget": changed(("steps / longest", "steps / max(budgets)")),
        "1 where b never reaches it": changed(
            ("None if steps is None", "1.0 if steps is None")
        ),
    },
    points=3,
    minutes=30,
)
