"""Find the honest ratio of steps in a table of runs that also yields dishonest ones."""

import math
from collections.abc import Iterator
from itertools import product
from statistics import fmean

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed
from deepseek_learn.optim import steps_to

RATES = (0.001, 0.003, 0.01, 0.03)
FINAL = (1, 2, 3)  # seed 0 is for tuning
PARTS = {"validation": 0.0, "test": 0.04}  # offset of the loss
APART = 0.03  # minimum |log| distance of a trick's ratio from the honest one
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
    """Draw runs in which no trick comes near the honest ratio and no two tricks agree.

    One slip, a different one per table, does not give the honest ratio either.
    """
    while True:
        table = invent(rng, reaches)
        want = ratio(table)
        if (want is not None) != reaches:
            continue
        ratios = list(tricks(table))
        named = {(name, trick) for name, trick in ratios if trick is not None}
        distinct = len(named) == len({trick for _, trick in named})
        slip_ratios = [*slips(table)]
        ratios.append(slip_ratios[slip % len(slip_ratios)])
        if distinct and all(differs(trick, want) for _, trick in ratios):
            return table


def invent(rng, reaches: bool) -> Table:
    longest = 100 * int(rng.integers(4, 13))
    budgets = {"a": [longest // 4, longest // 2, longest]}
    last = int(rng.choice([3 * longest // 2, 2 * longest]))
    budgets["b"] = [longest // 8, longest // 4, longest // 2, last]
    height = {"a": 1.0, "b": rng.uniform(0.7, 0.85) if reaches else 1.4}
    table = {}
    for optimizer, steps in budgets.items():
        penalties = rng.permutation(
            [0.0, 0.03, rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.4)]
        )
        for lr, penalty in zip(RATES, penalties, strict=True):
            tilt = rng.normal(0, 0.06)  # the best rate depends on the budget
            for seed, (part, gap) in product((0, *FINAL), PARTS.items()):
                luck = rng.normal(0, 0.03)  # of this seed and part
                for n in steps:
                    rate = 1 + penalty + tilt * math.log2(steps[-1] / n)
                    curve = height[optimizer] * (100 / n) ** 0.5 * rate
                    value = 0.2 + gap + curve + luck + rng.normal(0, 0.002)
                    table[optimizer, lr, n, seed, part] = float(value)
        spoil(
            table,
            optimizer,
            RATES[int(rng.choice(penalties.argsort()[2:]))],
            *steps[-2:],
        )
    return table


def spoil(table: Table, optimizer: str, lr: float, short: int, long: int) -> None:
    """Make a rate the best in a shorter run and a bad one in the longest."""
    for seed, part in product((0, *FINAL), PARTS):
        best = min(table[optimizer, other, long, seed, part] for other in RATES)
        table[optimizer, lr, short, seed, part] = best - 0.05
        table[optimizer, lr, long, seed, part] += 0.3


def steps_of(table: Table, optimizer: str) -> list[int]:
    return sorted({key[2] for key in table if key[0] == optimizer})


def tuned(table: Table, optimizer: str, which: int = -1) -> float:
    """Return the rate with the lowest validation loss of the tuning seed."""
    steps = steps_of(table, optimizer)[which]
    return min(RATES, key=lambda lr: table[optimizer, lr, steps, 0, "validation"])


def tuned_anywhere(table: Table, optimizer: str) -> float:
    """Return the rate with the lowest validation loss at any budget."""

    def least(lr: float) -> float:
        steps = steps_of(table, optimizer)
        return min(table[optimizer, lr, n, 0, "validation"] for n in steps)

    return min(RATES, key=least)


def lucky(table: Table, optimizer: str, steps: int | None = None, **options) -> float:
    """Return the rate with the lowest test loss over the final seeds."""
    steps = steps or steps_of(table, optimizer)[-1]
    return min(RATES, key=lambda lr: loss(table, optimizer, lr, steps, **options))


def loss(table: Table, optimizer, lr, steps, part="test", seeds=FINAL, pool=fmean):
    return pool(table[optimizer, lr, steps, seed, part] for seed in seeds)


def ratio(table: Table, a=None, b=None, each_budget=False, **options) -> float | None:
    """Divide the steps of b by those of a.

    `a` and `b` are rates, by default the tuned ones.
    """
    a, b = a or tuned(table, "a"), b or tuned(table, "b")
    longest = steps_of(table, "a")[-1]
    target = loss(table, "a", a, longest, **options)
    curve = {}
    for steps in steps_of(table, "b"):
        rate = lucky(table, "b", steps) if each_budget else b
        curve[steps] = loss(table, "b", rate, steps, **options)
    needed = steps_to(target, curve)
    return None if needed is None else needed / longest


def tricks(table: Table) -> Iterator[tuple[str, float | None]]:
    """Yield each mistake and the ratio that it gives."""
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
    """Yield other rate choices; a trick with the same rates gives the same ratio."""
    yield "others_rate", ratio(table, b=tuned(table, "a"))
    for seeds in ((0, *FINAL), FINAL):
        rates = (lucky(table, o, part="validation", seeds=seeds) for o in "ab")
        yield "seeds", ratio(table, *rates)
    for others in ((0, *FINAL), (0,)):
        yield "test", ratio(table, *(lucky(table, o, seeds=others) for o in "ab"))


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
        ratios = (*tricks(table), *slips(table), *mixed_up(table, want))
        matches = {name for name, other in ratios if same(value, other)}
        if len(matches) == 1:
            raise Failed(matches.pop(), got=value)
        if matches:
            rates = {o: tuned(table, o) for o in "ab"}
            raise Failed("several", got=value, **rates)
    if want is None:
        raise Failed("never", got=value)
    if value is None:
        raise Failed("missed", want=want)
    raise Failed("expect.value", what=CALL, got=value, want=want)


def same(value: float | None, other: float | None) -> bool:
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=1e-6)
