"""Which hyperparameters matter, and whether so few trials can tell."""

from typing import Any

import numpy as np

from .encoding import Encoding
from .engine import optuna, quiet
from .pareto import scaled

EVALUATORS = ("fanova", "ped_anova")
FEWEST = 4
# With fewer, the share that is right falls (`benchmarks/explanations.py`).
ENOUGH = 50
TREES, HALVES, HALF_TREES = 64, 10, 16
AROUND, STEPS = 256, 12  # random points, and values of one hyperparameter at each


def importances(
    study: Any, objective: str, evaluator: str = "fanova"
) -> dict[str, float]:
    """Hyperparameter → share, largest first; see `Study.importances`."""
    if evaluator not in EVALUATORS:
        raise ValueError(f"evaluator must be one of {EVALUATORS}; got {evaluator!r}.")
    if len(study.complete) < FEWEST:
        raise ValueError(
            f"importances need at least {FEWEST} results; the study has "
            f"{len(study.complete)}."
        )
    return _shares(study, _complete(study), objective, evaluator)


def steadiness(study: Any, objective: str) -> float:
    """In what share of random halves of the trials the same hyperparameter comes first.

    A name that stands out by chance in all trials rarely does so in each half.
    """
    trials, rng = _complete(study), np.random.default_rng(0)
    shares = _shares(study, trials, objective, "fanova")
    first = next(iter(shares))
    if not shares[first] > 0:
        return 0.0
    same = 0
    for _ in range(HALVES):
        half = rng.permutation(len(trials))[: (len(trials) + 1) // 2]
        some = [trials[i] for i in half]
        drawn = _shares(study, some, objective, "fanova", HALF_TREES)
        same += next(iter(drawn)) == first
    return same / HALVES


def _complete(study: Any) -> list:
    numbers = {solution.number for solution in study.complete}
    return [trial for trial in study.trials if trial.number in numbers]


def _shares(
    study: Any, trials: list, objective: str, evaluator: str, trees: int = TREES
) -> dict[str, float]:
    ask = _main_effects if evaluator == "fanova" else _ped_anova
    place = study.goals.names.index(objective)
    shares = ask(study, trials, place, trees)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _main_effects(study: Any, trials: list, place: int, trees: int) -> dict:
    r"""Functional ANOVA: :math:`\mathrm{Var}_d(\mathrm{E}[f \mid x_d]) / \mathrm{Var}(f)`.

    f is a forest grown on the trials; the expectations over the whole space are means
    over random points. (Optuna's evaluator integrates exactly; its time
    grows with the square of the trials.)
    """
    from sklearn.ensemble import ExtraTreesRegressor

    encoding, rng = Encoding(study.space), np.random.default_rng(0)
    points = np.array([encoding.encode(trial.params) for trial in trials])
    values = np.array([trial.values[place] for trial in trials])
    if min(values) == max(values):
        return dict.fromkeys(encoding.names, 0.0)
    values = scaled(values[:, None])[0][:, 0]  # shares of the variance stay the same
    forest = ExtraTreesRegressor(trees, random_state=0, min_samples_leaf=2)
    forest.fit(encoding.features(points), values)
    around = encoding.snap(rng.random((AROUND, len(encoding.names))))
    shares = {}
    for axis, name in enumerate(encoding.names):
        count = encoding.categories[axis] or STEPS
        moved = np.repeat(around[None], count, axis=0)  # [steps, AROUND, D]
        moved[:, :, axis] = ((np.arange(count) + 0.5) / count)[:, None]
        moved = encoding.snap(moved.reshape(-1, len(encoding.names)))
        answers = forest.predict(encoding.features(moved)).reshape(count, -1)
        whole = answers.var()
        shares[name] = float(answers.mean(1).var() / whole) if whole > 0 else 0.0
    return shares


def _ped_anova(study: Any, trials: list, place: int, trees: int) -> dict:
    kinds = optuna.importance
    sign = study.goals.signs[place]
    with quiet():
        kept = _Records(trials)
        copy = optuna.create_study(storage=kept, directions=study.goals.directions)
        target = lambda trial: sign * trial.values[place]  # noqa: E731
        shares = kinds.get_param_importances(
            copy, evaluator=kinds.PedAnovaImportanceEvaluator(), target=target
        )
    return {name: float(share) for name, share in shares.items()}


class _Records(optuna.storages.InMemoryStorage):
    """Trials as they are: `Study.add_trials` would copy each, most of the time here."""

    def __init__(self, trials: list):
        super().__init__()
        self.trials = trials

    def get_all_trials(self, study_id, deepcopy=True, states=None) -> list:
        return [t for t in self.trials if states is None or t.state in states]
