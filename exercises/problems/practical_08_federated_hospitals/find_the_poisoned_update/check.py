"""Updates that may not be averaged."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "suspects")
    for updates, factor in [*special(), *(random_case(rng) for _ in range(14))]:
        norms = [f"{value:.3g}" for value in updates.norm(dim=1).tolist()]
        call = f"suspects(updates with the norms {', '.join(norms)}, {factor:g})"
        got = expect.call(answer, updates, factor)
        compare(indices(got, call), updates, factor, call)


def special() -> list[tuple[torch.Tensor, float]]:
    two = torch.tensor([[1.0, 0.0], [30.0, 0.0]])
    lone = torch.tensor([[3.0, 4.0]])
    nan = torch.tensor([[1.0, 0], [float("nan"), 0], [0, 1.2]])
    infinite = torch.tensor([[float("inf"), 0.0], [0.0, float("inf")], [9.0, 9.0]])
    hidden = torch.diag(torch.tensor([1.0, 1, 1, 30, 200]))  # behind a larger one
    spiked = torch.full((4, 100), 0.1)
    spiked[2] = 0
    spiked[2, 7] = 2.0  # twice the norm of the others, 20 times their largest value
    flood = torch.full((4, 2), float("inf"))
    flood[3] = 9.0  # nothing finite to compare it with
    alone = torch.tensor([[float("-inf"), 0.0]])
    fourfold = torch.diag(torch.tensor([1.0, 1, 1, 4]))
    tenfold = torch.diag(torch.tensor([1.0, 10, 1, 1]))  # not more than the factor
    dense = torch.zeros(4, 400)  # twice the norm, but 40 times the sum of values
    dense[:3, 0], dense[3] = 1.0, 0.1
    cases = [two, lone, nan, infinite, hidden, spiked, flood, alone, fourfold, dense]
    larger = torch.diag(torch.tensor([100.0, 150, 100, 100]))  # by more than ten
    return [(each, 10.0) for each in [*cases, tenfold, larger]]


def random_case(rng) -> tuple[torch.Tensor, float]:
    count, factor = int(rng.integers(3, 8)), float(rng.choice([2.0, 5.0, 10.0]))
    updates = rng.normal(size=(count, 12)) * rng.uniform(0.5, 1.5, (count, 1))
    for index in rng.permutation(count)[: int(rng.integers(0, 3))]:
        kind = int(rng.integers(4))
        if kind < 2:
            updates[index] *= factor * rng.uniform(1.5, 30)
        elif kind == 2:
            updates[index, rng.integers(12)] = np.nan
        else:  # one huge value, or the same norm in one value
            updates[index] = 0
            updates[index, 0] = 3.5 * rng.uniform(0.8, 1.2)
    return torch.tensor(updates).float(), factor


def indices(got, call: str) -> list[int]:
    if not isinstance(got, list | tuple | np.ndarray | torch.Tensor):
        raise Failed("list", call=call, got=type(got).__name__)
    values = expect.numbers(got, call)
    if values.ndim != 1 or (values != np.round(values)).any():
        raise Failed("list", call=call, got=str(got))
    return [int(each) for each in values]


def wanted(updates: torch.Tensor, factor: float, rule, own: bool = False) -> list[int]:
    finite = torch.isfinite(updates).all(1).numpy()
    norms = updates.double().norm(dim=1).numpy()
    found = []
    for i in range(len(updates)):
        others = norms[[j for j in range(len(norms)) if (own or j != i) and finite[j]]]
        if not finite[i] or (len(others) and norms[i] > factor * rule(others)):
            found.append(i)
    return found


def lower_median(values: np.ndarray) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])


def upper_median(values: np.ndarray) -> float:
    return float(np.sort(values)[len(values) // 2])


def compare(got: list[int], updates: torch.Tensor, factor: float, call: str) -> None:
    want = wanted(updates, factor, lower_median)
    if want != wanted(updates, factor, upper_median):  # which is meant would decide
        return
    if sorted(got) == want and len(set(got)) == len(got):
        return
    finite = torch.isfinite(updates).all(1)
    guesses = {
        "own": wanted(updates, factor, lambda v: float(np.median(v)), own=True),
        "mean": wanted(updates, factor, lambda v: float(np.mean(v))),
        "finite": [i for i in range(len(updates)) if not finite[i]],
        "nan": [i for i in want if finite[i]],
    }
    matches = [name for name, value in guesses.items() if sorted(got) == value]
    key = matches[0] if len(matches) == 1 else "other"
    raise Failed(key, call=call, got=str(sorted(got)), want=str(want))
