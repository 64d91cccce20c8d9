"""Hyperparameter importances, and how reliable they are with only a few trials."""

import numpy as np

from ..rng import isolate_rng
from .encoding import BaseDistribution, Encoding
from .engine import optuna, quiet
from .pareto import scaled
from .results import SearchResults

EVALUATORS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}  # name → as it is shown
FEWEST = 4
# With fewer trials, importances are correct less often (`benchmarks/explanations.py`).
ENOUGH = 50
TREES, HALVES, HALF_TREES = 64, 10, 16
MOST = 100  # trials to which a forest is fitted; the time grows with their square


def importances(
    study: SearchResults, objective: str, evaluator: str = "fanova"
) -> dict[str, float]:
    """Return the importance of each hyperparameter in descending order.

    See `Study.importances`.
    """
    if evaluator not in EVALUATORS:
        raise ValueError(
            f"evaluator must be one of {tuple(EVALUATORS)}; got {evaluator!r}."
        )
    if len(study.complete) < FEWEST:
        raise ValueError(
            f"importances need at least {FEWEST} results; the study has "
            f"{len(study.complete)}."
        )
    return _shares(study, _complete(study), objective, evaluator)


def steadiness(study: SearchResults, objective: str) -> float:
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


def _complete(study: SearchResults) -> list:
    numbers = {solution.number for solution in study.complete}
    return [trial for trial in study.trials if trial.number in numbers]


def _shares(
    study: SearchResults,
    trials: list,
    objective: str,
    evaluator: str,
    trees: int = TREES,
) -> dict[str, float]:
    evaluate = _fanova if evaluator == "fanova" else _ped_anova
    index = study.goals.names.index(objective)
    shares = evaluate(study, trials, index, trees)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _fanova(study: SearchResults, trials: list, index: int, trees: int) -> dict:
    r"""Let Optuna compute the main effect of each hyperparameter by functional ANOVA.

    The main effect is :math:`\mathrm{Var}_d(\mathrm{E}[f \mid x_d]) / \mathrm{Var}(f)`,
    where f is a forest fitted to the trials.
    """
    with isolate_rng():  # the first import of sklearn draws random numbers
        import sklearn.ensemble  # noqa: F401
    if len(trials) > MOST:
        sample = np.random.default_rng(0).permutation(len(trials))[:MOST]
        trials = [trials[i] for i in sample]
    values = np.array([trial.values[index] for trial in trials])
    if values.min() == values.max():  # Optuna would raise an error
        return dict.fromkeys(study.space, 0.0)
    values = scaled(values[:, None])[0][:, 0]  # does not change the variance ratios
    # Optuna averages uniformly over a range, even over a logarithmic one, and its time
    # doubles with each choice of a category. In the unit cube, every decade has the same
    # weight, and a category is a number whose choices have cells of equal width.
    encoding = Encoding(study.space)
    axis: BaseDistribution = optuna.distributions.FloatDistribution(0, 1)
    cube = dict.fromkeys(encoding.names, axis)
    with quiet():
        copied = optuna.create_study()
        for trial, value in zip(trials, values, strict=True):
            point = encoding.encode(trial.params).tolist()  # [D]
            params = dict(zip(encoding.names, point, strict=True))
            copied.add_trial(
                optuna.create_trial(params=params, distributions=cube, value=value)
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=0)
        shares = evaluator.evaluate(copied)
    return {name: float(share) for name, share in shares.items()}


def _ped_anova(study: SearchResults, trials: list, index: int, trees: int) -> dict:
    """Let Optuna compare the best trials with all of them."""
    with quiet():
        copied = optuna.create_study(directions=study.goals.directions)
        copied.add_trials(trials)
        sign = study.goals.signs[index]
        shares = optuna.importance.get_param_importances(
            copied,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: sign * trial.values[index],
        )
    return {name: float(share) for name, share in shares.items()}
