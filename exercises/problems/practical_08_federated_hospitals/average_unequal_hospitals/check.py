"""The weighted average of several models."""

import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "average")
    for case in range(6):
        models, patients = hospitals(rng, 1 if case == 5 else int(rng.integers(2, 6)))
        call = f"average({len(models)} models, {patients})"
        got = expect.call(answer, models, patients)
        if not isinstance(got, dict):
            raise Failed("dictionary", call=call, got=type(got).__name__)
        if got.keys() != models[0].keys():
            raise Failed("names", call=call, got=sorted(map(str, got)))
        for name, value in got.items():
            what = f"{call}[{name!r}]"
            compare(value, [m[name] for m in models], patients, what)
            if any(value.data_ptr() == model[name].data_ptr() for model in models):
                raise Failed("same", call=call)


def hospitals(rng, count: int) -> tuple[list[dict[str, torch.Tensor]], list[int]]:
    """Models whose tensors have different shapes, and come in another order each."""
    shapes = {"conv.weight": (4, 2, 3), "conv.bias": (4,), "scale": (), "head": (2, 4)}
    models = []
    for _ in range(count):
        values = {
            n: torch.tensor(rng.normal(size=s)).float() for n, s in shapes.items()
        }
        order = map(str, rng.permutation([*shapes]))
        models.append({name: values[name] for name in order})
    return models, [int(n) for n in rng.integers(3, 200, count)]


def compare(got, values: list[torch.Tensor], patients: list[int], what: str) -> None:
    weights = torch.tensor(patients).double()
    stacked = torch.stack(values).double()
    want = torch.tensordot(weights / weights.sum(), stacked, 1).float()
    expect.tensor(got, what)
    if got.shape == want.shape and len(patients) > 1:
        guesses = {
            "alike": stacked.mean(0),
            "total": torch.tensordot(weights, stacked, 1),
        }
        for key, guess in guesses.items():
            apart = (guess - want).abs().max()
            if apart > 1e-3 and torch.allclose(
                got.double(), guess, atol=1e-5, rtol=1e-5
            ):
                raise Failed(key, what=what)
    expect.close(got, want, what)
