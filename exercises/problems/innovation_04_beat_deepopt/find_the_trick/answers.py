"""Answers to `find_the_trick`: the starter, right ones and wrong ones."""

# %% starter
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    ...

# %% solution
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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

# %% wrong: the rival's rate untuned
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    target = mean("a", min(r["lr"] for r in runs), longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: the rival gets b's rate
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    target = mean("a", tuned("b")[0], longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: b gets its rival's rate
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    rate, _ = tuned("a")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: rates chosen by the validation of all seeds
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["part"] == "validation"]
        best = min(tuning, key=lambda t: fmean(
            r["loss"] for r in tuning if (r["lr"], r["steps"]) == (t["lr"], longest)
        ))
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

# %% wrong: rates chosen by the validation of the final seeds
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] and r["part"] == "validation"]
        best = min(tuning, key=lambda t: fmean(
            r["loss"] for r in tuning if (r["lr"], r["steps"]) == (t["lr"], longest)
        ))
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

# %% wrong: rates chosen by the tuning seed's test part
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "test"]
        best = min(tuning, key=lambda t: fmean(
            r["loss"] for r in tuning if (r["lr"], r["steps"]) == (t["lr"], longest)
        ))
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

# %% wrong: rates chosen by the test part of all seeds
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["part"] == "test"]
        best = min(tuning, key=lambda t: fmean(
            r["loss"] for r in tuning if (r["lr"], r["steps"]) == (t["lr"], longest)
        ))
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

# %% wrong: tuned at the shortest budget
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        least = min(o["steps"] for o in own)
        best = min((r for r in tuning if r["steps"] == least), key=lambda r: r["loss"])
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

# %% wrong: tuned at any budget
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min(tuning, key=lambda r: r["loss"])
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

# %% wrong: b's rate chosen on the test part
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    rate = min(
        {r["lr"] for r in runs}, key=lambda lr: mean("b", lr, max(budgets))
    )
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: rates chosen on the test part
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def mean(optimizer, lr, steps):
        wanted = (optimizer, lr, steps)
        rows = [r for r in runs if (r["optimizer"], r["lr"], r["steps"]) == wanted]
        return fmean(r["loss"] for r in rows if r["seed"] and r["part"] == "test")

    rates = {r["lr"] for r in runs}
    budgets = {o: {r["steps"] for r in runs if r["optimizer"] == o} for o in "ab"}
    best = {o: min(rates, key=lambda lr: mean(o, lr, max(budgets[o]))) for o in "ab"}
    longest = max(budgets["a"])
    curve = {n: mean("b", best["b"], n) for n in budgets["b"]}
    steps = steps_to(mean("a", best["a"], longest), curve)
    return None if steps is None else steps / longest

# %% wrong: the best seed of each
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])
        return best["lr"], longest

    def mean(*wanted):
        names = "optimizer", "lr", "steps"
        rows = [r for r in runs if tuple(r[name] for name in names) == wanted]
        final = [r for r in rows if r["seed"] != 0 and r["part"] == "test"]
        return min(r["loss"] for r in final)

    rate, longest = tuned("a")
    target = mean("a", rate, longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: the tuning seed among the final ones
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])
        return best["lr"], longest

    def mean(*wanted):
        names = "optimizer", "lr", "steps"
        rows = [r for r in runs if tuple(r[name] for name in names) == wanted]
        final = [r for r in rows if r["part"] == "test"]
        return fmean(r["loss"] for r in final)

    rate, longest = tuned("a")
    target = mean("a", rate, longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: the losses of the tuning seed
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])
        return best["lr"], longest

    def mean(*wanted):
        names = "optimizer", "lr", "steps"
        rows = [r for r in runs if tuple(r[name] for name in names) == wanted]
        final = [r for r in rows if r["seed"] == 0 and r["part"] == "validation"]
        return fmean(r["loss"] for r in final)

    rate, longest = tuned("a")
    target = mean("a", rate, longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: both parts pooled
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
        own = [r for r in runs if r["optimizer"] == optimizer]
        longest = max(r["steps"] for r in own)
        tuning = [r for r in own if r["seed"] == 0 and r["part"] == "validation"]
        best = min((r for r in tuning if r["steps"] == longest), key=lambda r: r["loss"])
        return best["lr"], longest

    def mean(*wanted):
        names = "optimizer", "lr", "steps"
        rows = [r for r in runs if tuple(r[name] for name in names) == wanted]
        final = [r for r in rows if r["seed"] != 0]
        return fmean(r["loss"] for r in final)

    rate, longest = tuned("a")
    target = mean("a", rate, longest)
    rate, _ = tuned("b")
    budgets = {r["steps"] for r in runs if r["optimizer"] == "b"}
    steps = steps_to(target, {n: mean("b", rate, n) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: another rate at each budget, chosen on the test part
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    steps = steps_to(target, {n: min(mean("b", r["lr"], n) for r in runs) for n in budgets})
    return None if steps is None else steps / longest

# %% wrong: steps instead of a ratio
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    return None if steps is None else steps

# %% wrong: the inverse ratio
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    return None if steps is None else longest / steps

# %% wrong: over b's longest budget
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    return None if steps is None else steps / max(budgets)

# %% wrong: 1 where b never reaches it
from statistics import fmean

from deepseek_learn.optim import steps_to


def honest(runs):
    def tuned(optimizer):
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
    return 1.0 if steps is None else steps / longest
