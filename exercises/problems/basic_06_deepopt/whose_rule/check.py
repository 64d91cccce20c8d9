"""Decide which parameters count as matrices; the shape alone does not tell."""

import torch
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


class Mixer(nn.Module):
    """Bare parameters, as in many models."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))
        self.gain = nn.Parameter(torch.empty(()))


def check(answer, rng) -> None:
    expect.function(answer, "role")
    with torch.device("meta"):  # shapes suffice; the learner's RNG stays untouched
        cases = [case for _ in range(2) for case in table(*rng.integers(2, 9, 2))]
    for i in rng.permutation(len(cases)):
        want, why, module, code, name, head = cases[i]
        parameter = getattr(module, name)
        got = expect.call(answer, parameter, module, head)
        what = f"{code}.{name} {list(parameter.shape)}"
        what += ", head=True" if head else ""
        if not isinstance(got, str) or got not in ("matrix", "adamw"):
            value = repr(got) if isinstance(got, str) else type(got).__name__
            raise Failed("name", got=value, what=what)
        if got != want:
            raise Failed(why, what=what)


def table(m: int, n: int) -> list[tuple]:
    """Return (role, reason, module, its code, parameter name, whether it is a head)."""
    m, n = int(m), int(n)
    cases = []

    def add(role, why, kind, *args, name="weight", head=False, **options) -> None:
        arguments = ", ".join(map(str, args)) + "".join(
            f", {k}={v}" for k, v in options.items()
        )
        code = f"{'' if kind is Mixer else 'nn.'}{kind.__name__}({arguments})"
        cases.append((role, why, kind(*args, **options), code, name, head))

    add("matrix", "matrix", nn.Linear, m, n)
    add("adamw", "vector", nn.Linear, m, n, name="bias")
    add("adamw", "head", nn.Linear, m, n, head=True)
    add("adamw", "vector", nn.Linear, m, n, name="bias", head=True)
    add(
        "adamw",
        "head",
        nn.MultiheadAttention,
        2 * m,
        2,
        name="in_proj_weight",
        head=True,
    )
    add("adamw", "head", nn.GRU, m, n, name="weight_hh_l0", head=True)
    add("adamw", "vector", nn.Conv2d, m, n, 1, name="bias", head=True)
    add("adamw", "head", Mixer, m, n, head=True)
    add("adamw", "vector", nn.Linear, m, 1)
    add("adamw", "vector", nn.Linear, 1, n)
    add("adamw", "vector", nn.Linear, 1, n + 3)
    add("matrix", "matrix", nn.Linear, 2, n)
    add("matrix", "matrix", nn.Linear, m, 2)
    add("matrix", "matrix", nn.Conv1d, m, n, 3)
    add("matrix", "matrix", nn.Conv2d, m, n, 3)
    add("matrix", "matrix", nn.Conv2d, m, n, 1)
    add("matrix", "matrix", nn.Conv2d, 1, n, 3)
    add("matrix", "matrix", nn.Conv3d, m, n, 2)
    add("matrix", "matrix", nn.ConvTranspose2d, m, n, 2)
    add("adamw", "vector", nn.Conv2d, m, n, 3, name="bias")
    add("adamw", "vector", nn.Conv2d, 1, 1, 1)
    add("adamw", "vector", nn.Conv2d, m, 1, 3)
    add("adamw", "vector", nn.Conv1d, 1, n, 1)
    add("adamw", "head", nn.Conv2d, m, n, 1, head=True)
    add("adamw", "grouped", nn.Conv2d, 4 * m, 4 * m, 3, groups=4 * m)
    add("adamw", "grouped", nn.Conv2d, 2 * m, 2 * n, 3, groups=2)
    add("adamw", "grouped", nn.Conv1d, 2 * m, 2 * n, 5, groups=2)
    add("adamw", "grouped", nn.ConvTranspose2d, 2 * m, 2 * n, 2, groups=2)
    add("adamw", "embedding", nn.Embedding, m, n)
    add("adamw", "embedding", nn.EmbeddingBag, m, n)
    add("adamw", "vector", nn.LayerNorm, n)
    add("adamw", "vector", nn.BatchNorm2d, n, name="bias")
    add("adamw", "vector", nn.PReLU)
    add("matrix", "matrix", nn.MultiheadAttention, 2 * m, 2, name="in_proj_weight")
    add("adamw", "vector", nn.MultiheadAttention, 2 * m, 2, name="in_proj_bias")
    add("matrix", "matrix", nn.GRU, m, n, name="weight_hh_l0")
    add("matrix", "matrix", Mixer, m, n)
    add("adamw", "vector", Mixer, m, n, name="gain")
    return cases
