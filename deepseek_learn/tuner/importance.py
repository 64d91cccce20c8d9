"""Hyperparameter importances, and how reliable they are with only a few trials."""

from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from ..rng import isolate_rng
from .encoding import Encoding
from .engine import optuna, quiet
from .pareto import scaled

if TYPE_CHECKING:
    from .study import Study

EVALUATORS = ("fanova", "ped_anova")
FEWEST = 4
# With fewer trials, importances are correct less often (`benchmarks/explanations.py`).
ENOUGH = 50
TREES, HALVES, HALF_TREES = 64, 10, 16
AROUND, STEPS = 256, 12  # random points, and values of one hyperparameter at each point


def importances(
    study: "Study", objective: str, evaluator: str = "fanova"
) -> dict[str, float]:
    """Return the importance of each hyperparameter in descending order.

    See `Study.importances`.
    """
    if evaluator not in EVALUATORS:
        raise ValueError(f"evaluator must be one of {EVALUATORS}; got {evaluator!r}.")
    if len(study.complete) < FEWEST:
        raise ValueError(
            f"importances need at least {FEWEST} results; the study has "
            f"{len(study.complete)}."
        )
    return _shares(study, _complete(study), objective, evaluator)


def steadiness(study: "Study", objective: str) -> float:
    """Return how stable the most important hyperparameter is, from 0 to 1.

    This is the fraction of random halves of the trials for which the same
    hyperparameter ranks first. A hyperparameter that ranks first only by chance rarely
    does so in every half.
    """
    trials, rng = _complete(study), np.random.default_rng(0)
    shares = _shares(study, trials, objective, "fanova")
    first = next(iter(shares))
    if not shares[first] > 0:
        return 0.0
    agreements = 0
    for _ in range(HALVES):
        half = rng.permutation(len(trials))[: (len(trials) + 1) // 2]
        sample = [trials[i] for i in half]
        half_shares = _shares(study, sample, objective, "fanova", HALF_TREES)
        agreements += next(iter(half_shares)) == first
    return agreements / HALVES


def _complete(study: "Study") -> list:
    numbers = {solution.number for solution in study.complete}
    return [trial for trial in study.trials if trial.number in numbers]


def _shares(
    study: "Study", trials: list, objective: str, evaluator: str, trees: int = TREES
) -> dict[str, float]:
    evaluate = _main_effects if evaluator == "fanova" else _ped_anova
    index = study.goals.names.index(objective)
    shares = evaluate(study, trials, index, trees)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _main_effects(study: "Study", trials: list, index: int, trees: int) -> dict:
    r"""Compute the main effect of each hyperparameter by functional ANOVA.

    The main effect is :math:`\mathrm{Var}_d(\mathrm{E}[f \mid x_d]) / \mathrm{Var}(f)`,
    where f is a forest fitted to the trials. Expectations over the whole space are
    estimated by averaging over random points. (Optuna's evaluator computes them
    exactly, which takes time quadratic in the number of trials.)
    """
    with isolate_rng():  # the first import of sklearn draws random numbers
        from sklearn.ensemble import ExtraTreesRegressor

    encoding, rng = Encoding(study.space), np.random.default_rng(0)
    points = np.array([encoding.encode(trial.params) for trial in trials])
    values = np.array([trial.values[index] for trial in trials])
    if min(values) == max(values):
        return dict.fromkeys(encoding.names, 0.0)
    values = scaled(values[:, None])[0][:, 0]  # does not change the variance ratios
    forest = ExtraTreesRegressor(trees, random_state=0, min_samples_leaf=2)
    forest.fit(encoding.features(points), values)
    base_points = encoding.snap(rng.random((AROUND, len(encoding.names))))
    shares = {}
    for axis, name in enumerate(encoding.names):
        count = encoding.categories[axis] or STEPS
        grid = np.repeat(base_points[None], count, axis=0)  # [steps, AROUND, D]
        grid[:, :, axis] = ((np.arange(count) + 0.5) / count)[:, None]
        grid = encoding.snap(grid.reshape(-1, len(encoding.names)))
        predictions = forest.predict(encoding.features(grid)).reshape(count, -1)
        variance = predictions.var()
        effect = predictions.mean(1).var()
        shares[name] = float(effect / variance) if variance > 0 else 0.0
    return shares


def _ped_anova(study: "Study", trials: list, index: int, trees: int) -> dict:
    importance = optuna.importance
    sign = study.goals.signs[index]
    with quiet():
        storage = _TrialStorage(trials)
        copy = optuna.create_study(storage=storage, directions=study.goals.directions)
        target = lambda trial: sign * trial.values[index]  # noqa: E731
        shares = importance.get_param_importances(
            copy, evaluator=importance.PedAnovaImportanceEvaluator(), target=target
        )
    return {name: float(share) for name, share in shares.items()}


class _TrialStorage(optuna.storages.InMemoryStorage):
    """A storage that refers to existing trials instead of copying them.

    `Study.add_trials`, in contrast, would copy every trial.
    """

    def __init__(self, trials: list):
        super().__init__()
        self.trials = trials

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[optuna.trial.TrialState] | None = None,
    ) -> list:
        return [t for t in self.trials if states is None or t.state in states]
