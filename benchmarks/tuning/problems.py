"""The search problems of `tuner_peers.py`; all objectives are minimized."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from models import digits_table, movements_table
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

CUBE = {f"x{i}": FloatDistribution(0, 1) for i in range(10)}
MIXED = {
    "a": FloatDistribution(-5, 5),
    "b": IntDistribution(0, 10),
    "c": IntDistribution(1, 1000, log=True),
    "d": CategoricalDistribution(("p", "q", "r", "s", "t")),
    "e": FloatDistribution(1e-3, 10, log=True),
    "f": FloatDistribution(0, 1, step=0.1),
}


def zdt(number: int, config: dict) -> list[float]:
    first, *rest = config.values()
    g = 1 + 9 * float(np.mean(rest))
    share = first / g
    shape = {1: 1 - share**0.5, 2: 1 - share**2}
    shape[3] = shape[1] - share * np.sin(10 * np.pi * first)
    return [first, g * float(shape[number])]


def dtlz2(config: dict) -> list[float]:
    x = np.array(list(config.values()))
    radius = 1 + ((x[2:] - 0.5) ** 2).sum()
    (c, d), (s, t) = np.cos(x[:2] * np.pi / 2), np.sin(x[:2] * np.pi / 2)
    return [float(radius * v) for v in (c * d, c * t, s)]


def dtlz7(config: dict) -> list[float]:
    x = np.array(list(config.values()))
    g, f = 1 + 9 * x[2:].mean(), x[:2]
    h = 3 - (f / (1 + g) * (1 + np.sin(3 * np.pi * f))).sum()
    return [*map(float, f), float((1 + g) * h)]


def mixed(config: dict) -> list[float]:
    a, b, c, d, e, f = config.values()
    category = {"p": 0.3, "q": 0.0, "r": 0.6, "s": 0.1, "t": 0.9}[d]
    g = 0.1 * (a - 1) ** 2 + 0.02 * (b - 7) ** 2 + 0.3 * (np.log10(e) + 1) ** 2
    size, g = np.log10(c) / 3, g + category
    second = (1 - size) ** 2 + 0.5 * (1 - f) ** 1.5
    return [float(0.7 * size + 0.3 * f + g), float(second + g)]


def truss(config: dict) -> list[float]:
    """Volume and displacement of a truss of four bars (RE21)."""
    x1, x2, x3, x4 = config.values()
    root, length = np.sqrt(2), 200.0
    volume = length * (2 * x1 + root * x2 + np.sqrt(x3) + x4)
    bend = 2 / x1 + 2 * root / x2 - 2 * root / x3 + 2 / x4
    return [float(volume), float(10 * length / 2e5 * bend)]


def brake(config: dict) -> list[float]:
    """Mass, stopping time and violations of a disc brake (RE33)."""
    inner, outer, force, discs = config.values()
    squares, cubes = outer**2 - inner**2, outer**3 - inner**3
    cubes = cubes if abs(cubes) > 1e-9 else 1e-9
    squares = squares if abs(squares) > 1e-9 else 1e-9
    mass = 4.9e-5 * squares * (discs - 1)
    stop = 9.82e6 * squares / (force * discs * cubes)
    limits = (
        outer - inner - 20,
        0.4 - force / (3.14 * squares),
        1 - 2.22e-3 * force * cubes / squares**2,
        2.66e-2 * force * discs * cubes / squares - 900,
    )
    return [float(mass), float(stop), float(sum(max(-limit, 0) for limit in limits))]


TRUSS = {
    name: FloatDistribution(low, 3.0)
    for name, low in (("x1", 1.0), ("x2", 2**0.5), ("x3", 2**0.5), ("x4", 1.0))
}
BRAKE = {
    "inner": FloatDistribution(55, 80),
    "outer": FloatDistribution(75, 110),
    "force": FloatDistribution(1000, 3000),
    "discs": IntDistribution(11, 20),
}


@dataclass(frozen=True)
class Problem:
    """A search problem.

    Attributes:
        counts: numbers of trials after which the hypervolume is computed.
        seeds: 0 to this, exclusive.
        noise: standard deviation of the noise on the values told to the sampler.
        is_table: whether its values are those of really trained networks.
        held_out: whether no choice in our sampler was made by looking at it.
        of_the_mean: whether it is one of those over which means are taken.
    """

    name: str
    space: dict[str, BaseDistribution]
    objectives: Callable[[dict], list[float]]
    reference: list[float]
    counts: tuple[int, ...] = (30, 60, 100)
    seeds: int = 20
    noise: float = 0.0
    is_table: bool = False
    held_out: bool = False
    of_the_mean: bool = True


def networks(name: str, module: ModuleType, held_out: bool = False) -> Problem:
    """A table of trained networks: error, and the logarithms of latency and size."""
    table = module.load()
    worst = [table.errors[..., -1].max()]
    worst += [np.log10(v.max()) for v in (table.latency_ms, table.parameters)]

    def objectives(config: dict) -> list[float]:
        metrics = table.lookup(config)
        sizes = metrics["latency_ms"], metrics["parameters"]
        return [metrics["errors"][-1], *(float(np.log10(v)) for v in sizes)]

    reference = [float(v) for v in worst]
    facts = {"is_table": True, "held_out": held_out}
    return Problem(name, table.space, objectives, reference, **facts)


def problems() -> list[Problem]:
    two, three = [1.1] * 2, [1.1] * 3
    others = {"counts": (100,), "seeds": 10, "of_the_mean": False}
    return [
        Problem("ZDT1", CUBE, lambda c: zdt(1, c), two),
        Problem("DTLZ2", CUBE, dtlz2, three),
        Problem("mixed", MIXED, mixed, [2.0, 2.0]),
        networks("digits", digits_table),
        networks("movements", movements_table, held_out=True),
        Problem("truss", TRUSS, truss, [3000.0, 0.05], held_out=True),
        Problem("brake", BRAKE, brake, [8.0, 8.0, 20.0], held_out=True),
        Problem("ZDT2", CUBE, lambda c: zdt(2, c), two, **others),
        Problem("ZDT3", CUBE, lambda c: zdt(3, c), two, **others),
        Problem("DTLZ7", CUBE, dtlz7, [1.1, 1.1, 7.0], **others),
        Problem("DTLZ2 with noise", CUBE, dtlz2, three, noise=0.1, **others),
    ]
