"""The track of samplers: hypervolume after a fixed number of trials.

Two problems whose best hypervolume is known. Each race moves their optima, shuffles and
renames their parameters, and swaps and scales their objectives, so that no entry can
remember an answer. An entry that knows the formulas could still solve for the moved
optima from a few values; a reader has to notice that. The objectives are computed by
the scorer; the entry's process holds only the Optuna study.

Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from .source import EntryError
from .track import EntryServer, RaceResult, Start, Track, function_of

Point = dict[str, Any]


@dataclass(frozen=True)
class SearchProblem:
    """A search problem; all objectives are minimized.

    Attributes:
        space: one description for each parameter.
        objectives: the values of a configuration.
        corner: the reference point of the hypervolume.
        ideal: the hypervolume of the whole front.
        scales: positive factors by which the entry sees the objectives.
        order: the order in which it sees them.
    """

    space: list[Point]
    objectives: Callable[[Point], list[float]]
    corner: tuple[float, ...]
    ideal: float
    scales: list[float]
    order: list[int]

    def observation(self, values: list[float]) -> list[float]:
        """Return the objectives as the entry sees them."""
        return [values[i] * self.scales[i] for i in self.order]


@dataclass(frozen=True)
class SamplersTrack(Track):
    """Optuna samplers for several objectives.

    Args:
        trials: how many configurations a sampler may try on each problem.
    """

    trials: int = 60

    name = "samplers"
    reference = "tpe"
    better = "higher"
    is_share = True

    def problem(self, seed: int) -> list[SearchProblem]:
        rng = np.random.default_rng(seed)
        return [mixed(rng), sphere(rng)]

    def measure(
        self,
        problem: list[SearchProblem],
        start: Start,
        settings: Mapping[str, Any],
        reference: RaceResult | None,
    ) -> RaceResult:
        from ..tuner import hypervolume

        shares = []
        with start() as process:
            for search in problem:
                process.ask("open", search.space, len(search.corner))
                points: list[list[float]] = []
                observed: list[float] | None = None
                for _ in range(self.trials):
                    config = _checked(process.ask("next", observed), search.space)
                    points.append(search.objectives(config))
                    observed = search.observation(points[-1])
                shares.append(hypervolume(points, search.corner) / search.ideal)
        return RaceResult(float(np.mean(shares)), {"shares": shares})

    def server(self) -> EntryServer:
        return SamplerServer()


class SamplerServer(EntryServer):
    """Let the entry's sampler propose configurations."""

    def take(self, module: ModuleType) -> None:
        import optuna

        self.sampler = function_of(module, "sampler")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.numbers = np.random.SeedSequence(torch.initial_seed())

    def open(self, space: list[Point], objectives: int) -> None:
        """Begin a study with a new sampler."""
        import optuna

        sampler = self.sampler(int(self.numbers.spawn(1)[0].generate_state(1)[0]))
        if not isinstance(sampler, optuna.samplers.BaseSampler):
            raise EntryError(
                f"sampler() must return an Optuna sampler; got a "
                f"{type(sampler).__name__}."
            )
        directions: list[Literal["minimize"]] = ["minimize"] * objectives
        self.study = optuna.create_study(directions=directions, sampler=sampler)
        self.space = {each["name"]: _distribution(each) for each in space}
        self.trial: optuna.trial.Trial | None = None

    def next(self, values: list[float] | None) -> Point:
        """Report the values of the last configuration, and propose another."""
        if self.trial is not None:
            self.study.tell(self.trial, values)
        self.trial = self.study.ask(self.space)
        return dict(self.trial.params)


def _distribution(each: Point) -> Any:
    from optuna import distributions

    if "choices" in each:
        return distributions.CategoricalDistribution(each["choices"])
    kind = "IntDistribution" if each["whole"] else "FloatDistribution"
    return getattr(distributions, kind)(each["low"], each["high"])


def _checked(config: Any, space: list[Point]) -> Point:
    """Refuse a configuration that is not in the space."""
    names = {each["name"] for each in space}
    if not isinstance(config, dict) or set(config) != names:
        raise EntryError(f"a configuration must have the parameters {sorted(names)}.")
    for each in space:
        value = config[each["name"]]
        if "choices" in each:
            inside = value in each["choices"]
        else:
            kind = int if each["whole"] else int | float
            inside = isinstance(value, kind) and each["low"] <= value <= each["high"]
        if not inside:
            raise EntryError(
                f"the value of {each['name']!r} is outside the space: {value!r}."
            )
    return config


def mixed(rng: np.random.Generator) -> SearchProblem:
    r"""Return ZDT1 with a whole number and a category, and with a moved optimum.

    Zitzler, Deb & Thiele 2000, "Comparison of multiobjective evolutionary algorithms:
    Empirical results", Evolutionary Computation.

    .. math:: f_1 = x_0, \quad f_2 = g\,(1 - \sqrt{f_1 / g}), \quad
              g = 1 + 9 \cdot \mathrm{mean}(d)

    The front has g = 1, where every distance d to the optimum is 0.
    """
    centers = rng.uniform(0.15, 0.85, 3)
    whole, penalty = int(rng.integers(1, 10)), rng.permutation(4) / 3
    mirrored = bool(rng.integers(2))
    names = [f"p{i}" for i in rng.permutation(6)]
    space: list[Point] = [
        {"name": name, "low": 0.0, "high": 1.0, "whole": False} for name in names[:4]
    ]
    space += [
        {"name": names[4], "low": 0, "high": 10, "whole": True},
        {"name": names[5], "choices": ["a", "b", "c", "d"]},
    ]

    def objectives(config: Point) -> list[float]:
        first, *rest = (config[name] for name in names)
        first = 1 - first if mirrored else first
        distances = [abs(x - c) for x, c in zip(rest[:3], centers, strict=True)]
        distances += [abs(rest[3] - whole) / 10, penalty["abcd".index(rest[4])]]
        g = 1 + 9 * float(np.mean(distances))
        return [first, g * (1 - math.sqrt(first / g))]

    # the area up to (1.1, 4) above the curve f2 = 1 - sqrt(f1)
    return _search(rng, space, objectives, (1.1, 4.0), 4.4 - 1 / 3)


def sphere(rng: np.random.Generator) -> SearchProblem:
    """Return DTLZ2, whose front is an eighth of a sphere, with a moved optimum.

    Deb et al. 2005, "Scalable test problems for evolutionary multiobjective
    optimization", Springer.
    """
    centers = rng.uniform(0.2, 0.8, 6)
    mirrored = rng.integers(2, size=2).astype(bool)
    names = [f"p{i}" for i in rng.permutation(8)]
    space: list[Point] = [
        {"name": name, "low": 0.0, "high": 1.0, "whole": False} for name in names
    ]

    def objectives(config: Point) -> list[float]:
        x = np.array([config[name] for name in names])
        angles = np.where(mirrored, 1 - x[:2], x[:2]) * np.pi / 2
        radius = 1 + float(((x[2:] - centers) ** 2).sum())
        (c, d), (s, t) = np.cos(angles), np.sin(angles)
        return [float(radius * v) for v in (c * d, c * t, s)]

    return _search(rng, space, objectives, (1.1,) * 3, 1.1**3 - math.pi / 6)


def _search(
    rng: np.random.Generator,
    space: list[Point],
    objectives: Callable[[Point], list[float]],
    corner: tuple[float, ...],
    ideal: float,
) -> SearchProblem:
    """Shuffle the parameters and the objectives that the entry sees."""
    scales = (10 ** rng.uniform(-1, 1, len(corner))).tolist()
    order = rng.permutation(len(corner)).tolist()
    shuffled = [space[i] for i in rng.permutation(len(space))]
    return SearchProblem(shuffled, objectives, corner, ideal, scales, order)


TRACK = SamplersTrack()
