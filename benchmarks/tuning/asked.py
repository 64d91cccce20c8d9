"""Samplers of other libraries, in a process of their own: they are asked and told.

    PYTHON asked.py NAME SEED

reads one JSON line: a space (name → distribution as Optuna writes it) and the number of
objectives, all of which are minimized. A line `null` then asks for a configuration, and a
line with a list of values tells those of the last one; each answer has the processor
seconds that it took. It runs under the interpreter of an environment with the packages in
`PACKAGES`, and imports nothing of ours.

Settings are those that the authors advise: SMAC3's facade for hyperparameters with
ParEGO, an initial design of 8, otherwise as it comes; BoTorch's tutorial on several
objectives (one Gaussian process an objective, `MixedSingleTaskGP` where there are
categories, qLogNEHVI with 128 samples, 8 Sobol points first), its reference point from
what was observed, as `infer_reference_point` does it; pymoo's NSGA-III with directions of
Das and Dennis, about 20 of them and as many individuals, with its operators for mixed
variables.
"""

import json
import sys
import time
import warnings
from typing import Any

PACKAGES = ("smac==2.4.*", "botorch==0.18.*", "pymoo==0.6.*", "optuna>=4.9")
STARTUP = 8


class Smac:
    """SMAC3: a random forest, expected improvement, ParEGO's weights."""

    def __init__(self, space: dict, objectives: int, seed: int):
        from pathlib import Path
        from tempfile import mkdtemp

        import ConfigSpace as cs
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario
        from smac.multi_objective.parego import ParEGO

        self.steps = {}
        hyperparameters = []
        for name, d in space.items():
            kind = type(d).__name__
            if kind == "CategoricalDistribution":
                each = cs.CategoricalHyperparameter(name, list(d.choices))
            elif kind == "IntDistribution":
                each = cs.UniformIntegerHyperparameter(name, d.low, d.high, log=d.log)
            elif d.step is not None:  # the number of the step
                self.steps[name] = d
                count = round((d.high - d.low) / d.step)
                each = cs.UniformIntegerHyperparameter(name, 0, count)
            else:
                each = cs.UniformFloatHyperparameter(name, d.low, d.high, log=d.log)
            hyperparameters.append(each)
        configurations = cs.ConfigurationSpace(seed=seed)
        configurations.add(hyperparameters)
        scenario = Scenario(
            configurations,
            objectives=[f"y{i}" for i in range(objectives)],
            n_trials=1000,
            seed=seed,
            deterministic=True,
            output_directory=Path(mkdtemp(prefix="smac")),
        )
        self.facade = Facade(
            scenario,
            lambda config, seed: 0.0,
            multi_objective_algorithm=ParEGO(scenario),
            initial_design=Facade.get_initial_design(scenario, n_configs=STARTUP),
            intensifier=Facade.get_intensifier(scenario, max_config_calls=1),
            logging_level=False,
            overwrite=True,
        )

    def ask(self) -> dict[str, Any]:
        self.info = self.facade.ask()
        config = dict(self.info.config)
        for name, d in self.steps.items():
            config[name] = d.low + d.step * config[name]
        return config

    def tell(self, values: list[float]) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self.facade.tell(self.info, TrialValue(cost=values, time=0.0))


class BoTorch:
    """Gaussian processes and qLogNEHVI."""

    def __init__(self, space: dict, objectives: int, seed: int):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.torch, self.space, self.seed = torch, space, seed
        self.points: list = []
        self.values: list = []
        names = list(space)
        kinds = [type(space[name]).__name__ for name in names]
        self.categories = {
            i: len(space[names[i]].choices)
            for i, kind in enumerate(kinds)
            if kind == "CategoricalDistribution"
        }
        self.sobol = torch.quasirandom.SobolEngine(len(names), True, seed=seed)

    def ask(self) -> dict[str, Any]:
        if len(self.points) < STARTUP:
            point = self.sobol.draw(1, dtype=self.torch.double)[0]
            for i, count in self.categories.items():
                point[i] = min(int(point[i] * count), count - 1)
        else:
            point = self._propose()
        config, self.point = self._decoded(point)
        return config

    def tell(self, values: list[float]) -> None:
        self.points.append(self.point)
        self.values.append([-value for value in values])  # BoTorch maximizes

    def _decoded(self, point) -> tuple[dict[str, Any], Any]:
        """The configuration at a point of the unit cube, and where it really lies.

        A category's coordinate is its number.
        """
        import math

        point, config = point.clone(), {}
        for i, (name, d) in enumerate(self.space.items()):
            if i in self.categories:
                config[name] = d.choices[int(point[i])]
                continue
            low, high = d.low, d.high
            whole = type(d).__name__ == "IntDistribution"
            ends = (low - 0.5, high + 0.5) if whole else (low, high)
            if d.log:
                ends = math.log(ends[0]), math.log(ends[1])
            value = ends[0] + float(point[i]) * (ends[1] - ends[0])
            value = math.exp(value) if d.log else value
            if d.step is not None and not d.log:
                value = low + d.step * round((value - low) / d.step)
            value = min(max(round(value) if whole else value, low), high)
            config[name] = value
            inside = math.log(value) if d.log else value
            point[i] = (inside - ends[0]) / (ends[1] - ends[0])
        return config, point

    def _propose(self):
        from botorch import fit_gpytorch_mll
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement as Acquisition,
        )
        from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf, optimize_acqf_mixed_alternating
        from botorch.sampling import SobolQMCNormalSampler
        from botorch.utils.multi_objective.hypervolume import infer_reference_point
        from botorch.utils.multi_objective.pareto import is_non_dominated
        from gpytorch.mlls import SumMarginalLogLikelihood

        torch = self.torch
        x = torch.stack(self.points)
        y = torch.tensor(self.values, dtype=torch.double)
        models = []
        for column in y.T[..., None]:
            transform = Standardize(m=1)
            if self.categories:
                kinds = sorted(self.categories)
                model = MixedSingleTaskGP(x, column, kinds, outcome_transform=transform)
            else:
                model = SingleTaskGP(x, column, outcome_transform=transform)
            models.append(model)
        model = ModelListGP(*models)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = Acquisition(
            model=model,
            ref_point=infer_reference_point(y[is_non_dominated(y)], scale=0.1),
            X_baseline=x,
            prune_baseline=True,
            sampler=SobolQMCNormalSampler(torch.Size([128]), seed=self.seed),
        )
        bounds = torch.zeros(2, x.shape[1], dtype=torch.double)
        bounds[1] = 1
        for i, count in self.categories.items():
            bounds[1, i] = count - 1
        settings = {"q": 1, "num_restarts": 10, "raw_samples": 512}
        if self.categories:
            kinds = {i: list(range(n)) for i, n in self.categories.items()}
            best, _ = optimize_acqf_mixed_alternating(
                acquisition, bounds, cat_dims=kinds, **settings
            )
        else:
            options = {"batch_limit": 5, "maxiter": 200}
            best, _ = optimize_acqf(acquisition, bounds, options=options, **settings)
        return best[0]


class Pymoo:
    """NSGA-III."""

    def __init__(self, space: dict, objectives: int, seed: int):
        from pymoo.algorithms.moo.nsga3 import NSGA3
        from pymoo.core.mixed import (
            MixedVariableDuplicateElimination,
            MixedVariableMating,
            MixedVariableSampling,
        )
        from pymoo.core.problem import Problem
        from pymoo.core.variable import Choice, Integer, Real
        from pymoo.util.ref_dirs import get_reference_directions

        self.space, variables = space, {}
        for name, d in space.items():
            kind = type(d).__name__
            if kind == "CategoricalDistribution":
                variables[name] = Choice(options=list(d.choices))
            elif kind == "IntDistribution" and not d.log:
                variables[name] = Integer(bounds=(d.low, d.high))
            elif d.step is not None and not d.log:
                count = round((d.high - d.low) / d.step)
                variables[name] = Integer(bounds=(0, count))
            else:  # logarithmic ones in the logarithm
                variables[name] = Real(bounds=self._ends(d))
        directions = get_reference_directions(
            "das-dennis", objectives, n_partitions=19 if objectives == 2 else 5
        )
        unique = MixedVariableDuplicateElimination()
        algorithm = NSGA3(
            directions,
            pop_size=max(20, len(directions)),
            sampling=MixedVariableSampling(),
            mating=MixedVariableMating(eliminate_duplicates=unique),
            eliminate_duplicates=unique,
        )
        self.problem = Problem(vars=variables, n_obj=objectives)
        algorithm.setup(self.problem, termination=("n_gen", 10**6), seed=seed)
        self.algorithm, self.queue, self.told = algorithm, [], []

    @staticmethod
    def _ends(d) -> tuple[float, float]:
        import math

        return (math.log(d.low), math.log(d.high)) if d.log else (d.low, d.high)

    def ask(self) -> dict[str, Any]:
        import math

        if not self.queue:
            self.generation = self.algorithm.ask()
            self.queue, self.told = list(self.generation), []
        config = dict(self.queue[0].X)
        for name, d in self.space.items():
            kind = type(d).__name__
            if kind == "CategoricalDistribution":
                continue
            if d.log:
                config[name] = min(max(math.exp(config[name]), d.low), d.high)
            elif d.step is not None and kind == "FloatDistribution":
                config[name] = d.low + d.step * config[name]
            if kind == "IntDistribution":
                config[name] = round(config[name])
        return config

    def tell(self, values: list[float]) -> None:
        import numpy as np
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        self.queue.pop(0)
        self.told.append(values)
        if not self.queue:
            static = StaticProblem(self.problem, F=np.array(self.told))
            Evaluator().eval(static, self.generation)
            self.algorithm.tell(infills=self.generation)


SAMPLERS = {"SMAC3": Smac, "BoTorch": BoTorch, "pymoo NSGA-III": Pymoo}


def plain(value: Any) -> Any:
    """A number or a word as JSON writes it."""
    return value.item() if hasattr(value, "item") else value


def main(name: str, seed: int) -> None:
    from optuna.distributions import json_to_distribution

    warnings.simplefilter("ignore")
    first = json.loads(sys.stdin.readline())
    space = {n: json_to_distribution(text) for n, text in first["space"].items()}
    sampler = SAMPLERS[name](space, first["objectives"], seed)
    for line in sys.stdin:
        start, values = time.process_time(), json.loads(line)
        if values is not None:
            sampler.tell(values)
            answer: dict[str, Any] = {}
        else:
            config = sampler.ask()
            answer = {"config": {key: plain(value) for key, value in config.items()}}
        answer["seconds"] = time.process_time() - start
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
