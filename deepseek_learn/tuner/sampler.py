"""A genetic Optuna sampler that is guided by a surrogate model.

Children are bred as in NSGA-II (`genetic.py`). A surrogate for the objectives
(`surrogate.py`) is then used to select the most promising of hundreds of children
(`proposal.py`). A plain genetic algorithm uses up most of its trials before it has
learned anything. With fewer than a hundred trials, it did no better than random search,
and our sampler did worse without the surrogate. See claim C11 in the ledger for the
numbers.
Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .counts import whole_number
from .encoding import Encoding
from .engine import optuna
from .genetic import crossover, mutate, select
from .history import History
from .pareto import scaled
from .proposal import propose
from .pruning import expected_values
from .surrogate import last_refit, lengths
from .workers import tells

MOST = 300  # the maximum number of trials used to fit a model

State = optuna.trial.TrialState
FrozenTrial = optuna.trial.FrozenTrial
OptunaStudy = optuna.Study
Distributions = dict[str, optuna.distributions.BaseDistribution]


class GeneticSampler(optuna.samplers.BaseSampler):
    """Propose configurations for one or more objectives, optionally with limits.

    Numbers (including integer, stepped and logarithmic ones) and categories are
    searched jointly. Trials that meet the limits (`trial.set_constraint`) rank ahead of
    the others. A pruned trial is scored by its expected results, and a trial that
    failed (because of NaN or a crash) by the worst results of the others. A
    configuration that another worker is running is not proposed again, unless both
    workers make their proposals within a few milliseconds of each other.
    Hyperparameters whose range changes between trials are sampled at random.

    Args:
        population_size: the number of parents, as in NSGA-II.
        startup: the number of initial trials, which a Sobol sequence spreads evenly
            over the space. The very first trial is sampled at random because Optuna
            does not know the space yet.
        children: the number of children per generation, scored by the surrogate.
        generations: the number of generations bred for each trial.
        surrogate: whether a surrogate selects the child. If False, the sampler is plain
            NSGA-II.
        seed: the random seed. With a single worker, the same seed gives the same
            trials. If None, a seed is chosen at random.

    Raises:
        ValueError: if any of the numbers is too small.

    >>> import optuna
    >>> from deepseek_learn import tuner
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> sampler = tuner.GeneticSampler(seed=0)
    >>> study = optuna.create_study(sampler=sampler)
    >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=30)
    >>> study.best_value < 0.01
    True
    """

    def __init__(
        self,
        *,
        population_size: int = 20,
        startup: int = 8,
        children: int = 80,
        generations: int = 5,
        surrogate: bool = True,
        seed: int | None = None,
    ):
        self.population_size = whole_number("population_size", population_size, 2)
        self.startup = whole_number("startup", startup, 2)
        self.children = whole_number("children", children, 4)
        self.generations = whole_number("generations", generations, 1)
        self.surrogate = surrogate
        self.reseed_rng()
        if seed is not None:
            self._seed = whole_number("seed", seed, 0)
        self._length_cache: tuple | None = None
        self._point_cache: tuple = ((), {})  # a space, and its points by trial number

    def reseed_rng(self) -> None:
        self._seed = int(np.random.SeedSequence().generate_state(1)[0])

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> Distributions:
        return common_space(study.get_trials(deepcopy=False))

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        encoding = Encoding(search_space)
        rng = np.random.default_rng([self._seed, trial.number])
        history = self._history(study, encoding, search_space)
        if len(history) < self.startup or np.isnan(history.losses).all():
            return encoding.decode(self._sobol_point(encoding, trial.number))
        if not self.surrogate:
            return encoding.decode(self._child(encoding, history.filled(), rng))
        logs = self._length_scales(encoding, history, tuple(search_space.items()))
        history = history.filled()
        if len(history) > MOST:
            history = _subset(history)
        point = propose(
            encoding, history, logs, rng,
            self.population_size, self.generations, self.children,
        )  # fmt: skip
        return encoding.decode(point)

    def sample_independent(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        text = [ord(character) for character in param_name]
        rng = np.random.default_rng([self._seed, trial.number, *text])
        encoding = Encoding({param_name: param_distribution})
        return encoding.decode(rng.random(1))[param_name]

    def _history(
        self, study: OptunaStudy, encoding: Encoding, space: Distributions
    ) -> History:
        signs = [1 if d.name == "MINIMIZE" else -1 for d in study.directions]  # [M]
        # 1. Encoding a trial never changes, so each is encoded only once per space.
        key = study.study_name, *space.items()
        cache = self._point_cache if self._point_cache[0] == key else (key, {})
        cached_points = cache[1]  # another thread may replace the attribute
        self._point_cache = cache
        # 2. Sort the trials into results, failures (NaN) and those still running.
        points, losses, limits, pending = [], [], [], []
        trials = study.get_trials(deepcopy=False)
        for trial, values in zip(trials, expected_values(trials), strict=True):
            if not space.keys() & trial.params.keys():
                continue
            if trial.state == State.RUNNING:
                pending.append(encoding.encode(trial.params))
                continue
            loss = np.multiply(np.nan if values is None else values, signs)
            failed = not np.isfinite(loss).all()
            # skip trials that were pruned before their first report, or lost
            if failed and (trial.state == State.PRUNED or not tells(trial)):
                continue
            if trial.number not in cached_points:
                cached_points[trial.number] = encoding.encode(trial.params)
            points.append(cached_points[trial.number])
            losses.append(np.full_like(loss, np.nan) if failed else loss)
            limits.append(trial.constraints)
        # 3. One column per limit that any trial has.
        names = sorted({name for constraints in limits for name in constraints})
        # pruned trials have no values for the limits, so treat the limits as met
        violations = [
            [constraints.get(name, 0.0) for name in names] for constraints in limits
        ]
        shape = len(points), len(names)
        return History(
            np.array(points).reshape(-1, len(space)),
            scaled(np.array(losses).reshape(-1, len(signs)))[0],
            scaled(np.array(violations, dtype=float).reshape(shape))[0],
            np.array(pending).reshape(-1, len(space)),
        )

    def _sobol_point(self, encoding: Encoding, number: int) -> np.ndarray:
        """Return a point from the Sobol sequence, scrambled with the sampler's seed."""
        from scipy.stats import qmc

        engine = qmc.Sobol(len(encoding.names), rng=self._seed)
        size = 1 << number.bit_length()  # the sequence is balanced at powers of two
        return encoding.snap(engine.random(size)[number][None])[0]

    def _child(
        self, encoding: Encoding, history: History, rng: np.random.Generator
    ) -> np.ndarray:
        """Breed a child from two good parents, as in plain NSGA-II."""
        # both parents are drawn with equal chances: selection has already favored the best
        order = select(history.losses, self.population_size, history.ranks())
        parents = history.points[order]
        pair = parents[rng.integers(len(parents), size=2)][:, None]
        child = crossover(pair[0], pair[1], encoding.categories, rng)
        return encoding.snap(mutate(child, encoding.categories, rng))[0]

    def _length_scales(
        self, encoding: Encoding, history: History, space: tuple
    ) -> list:
        """Fit the length scales to the earliest trials only.

        A resumed search therefore uses the same length scales as before.
        """
        count = last_refit(min(len(history), MOST))
        limits = history.violations.shape[1]
        cache = self._length_cache
        if cache is None or cache[0] != (count, space, limits):
            logs = lengths(encoding, history.first(count).filled())
            self._length_cache = cache = (count, space, limits), logs
        return cache[1]


def common_space(trials: Sequence) -> Distributions:
    """Return the hyperparameters of completed and pruned trials, sorted by name.

    A hyperparameter is included even if only some trials have it, but not if its range
    changed between trials.
    """
    space: Distributions = {}
    changed = set()
    for trial in trials:
        if trial.state in (State.COMPLETE, State.PRUNED):
            for name, distribution in trial.distributions.items():
                if space.setdefault(name, distribution) != distribution:
                    changed.add(name)
    names = sorted(name for name in space if name not in changed)
    return {name: space[name] for name in names if not space[name].single()}


def _subset(history: History) -> History:
    """Select `MOST` trials to fit the models to: half the best, half the latest."""
    best = select(history.losses, MOST // 2, history.ranks())
    rest = np.setdiff1d(np.arange(len(history)), best)[-(MOST - len(best)) :]
    indices = np.sort(np.concatenate([best, rest]))
    return history.subset(indices)
