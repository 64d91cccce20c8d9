"""A genetic algorithm whose children are screened by a surrogate, for Optuna.

NSGA-II breeds (`genetic.py`); a model of the objectives (`surrogate.py`) tells which of
hundreds of children deserves a training (`screening.py`). A plain genetic algorithm
spends most trials before it has learnt anything: below a hundred it was no better than
chance, ours without the surrogate worse. Figures: the ledger, claim C11. Lesson:
`notebooks/practical/01_auto_tuner.ipynb`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .counts import whole_number
from .encoding import Encoding
from .engine import optuna
from .genetic import crossover, mutate, select
from .pareto import scaled
from .pruning import expected_values
from .screening import MOST, History, last_refit, lengths, propose
from .workers import tells

State = optuna.trial.TrialState
Distributions = dict[str, optuna.distributions.BaseDistribution]


class GeneticSampler(optuna.samplers.BaseSampler):
    """Proposes configurations for one or several objectives, with limits.

    Numbers (also whole, stepped and logarithmic ones) and categories are searched
    together. Trials that keep the limits (`trial.set_constraint`) come first. A pruned
    trial counts with what it was likely to give, one that failed (NaN, a crash) as bad
    as the worst. What other workers are at is not proposed again, but for workers that
    propose within the same milliseconds. Hyperparameters that only some trials have are
    drawn at random.

    Args:
        population_size: parents, as in NSGA-II.
        startup: first trials, spread evenly (Sobol). The very first is drawn at random,
            since Optuna does not know the space before it.
        children: bred in each generation on the surrogate.
        generations: bred for each trial.
        surrogate: whether children are screened; False: plain NSGA-II.
        seed: the same seed gives the same trials, for one worker; None: a new one.

    Raises:
        ValueError: for a number that is too small.
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
        least = {"population_size": 2, "startup": 2, "children": 4, "generations": 1}
        given = {"population_size": population_size, "startup": startup}
        given |= {"children": children, "generations": generations}
        for name, value in given.items():
            setattr(self, name, whole_number(name, value, least[name]))
        self.surrogate = surrogate
        self.reseed_rng()
        if seed is not None:
            self._seed = whole_number("seed", seed, 0)
        self._lengths: tuple | None = None
        self._encoded: tuple = ((), {})  # a space, and trial → its point there

    def reseed_rng(self) -> None:
        self._seed = int(np.random.SeedSequence().generate_state(1)[0])

    def infer_relative_search_space(self, study, trial) -> Distributions:
        return common_space(study.get_trials(deepcopy=False))

    def sample_relative(self, study, trial, search_space: Distributions) -> dict:
        if not search_space:
            return {}
        encoding = Encoding(search_space)
        rng = np.random.default_rng([self._seed, trial.number])
        history = self._history(study, encoding, search_space)
        if len(history) < self.startup or np.isnan(history.losses).all():
            return encoding.decode(self._spread(encoding, trial.number))
        if not self.surrogate:
            return encoding.decode(self._child(encoding, history.filled(), rng))
        logs = self._fitted(encoding, history, tuple(search_space.items()))
        history = history.filled()
        if len(history) > MOST:
            history = _most_telling(history)
        point = propose(
            encoding, history, logs, rng,
            self.population_size, self.generations, self.children,
        )  # fmt: skip
        return encoding.decode(point)

    def sample_independent(self, study, trial, param_name, param_distribution) -> Any:
        text = [ord(character) for character in param_name]
        rng = np.random.default_rng([self._seed, trial.number, *text])
        encoding = Encoding({param_name: param_distribution})
        return encoding.decode(rng.random(1))[param_name]

    def _history(self, study, encoding: Encoding, space: Distributions) -> History:
        signs = [1 if d.name == "MINIMIZE" else -1 for d in study.directions]
        key = study.study_name, *space.items()
        encoded = self._encoded if self._encoded[0] == key else (key, {})
        known = encoded[1]  # its own, whatever another thread puts there meanwhile
        self._encoded = encoded
        points, losses, limits, pending = [], [], [], []
        trials = study.get_trials(deepcopy=False)
        for trial, values in zip(trials, expected_values(trials), strict=True):
            if not space.keys() & trial.params.keys():
                continue
            if trial.state == State.RUNNING:
                pending.append(encoding.encode(trial.params))
                continue
            failed = values is None or not np.isfinite(values).all()
            # pruned before its first report it tells nothing
            if failed and (trial.state == State.PRUNED or not tells(trial)):
                continue
            if trial.number not in known:
                known[trial.number] = encoding.encode(trial.params)
            points.append(known[trial.number])
            losses.append(
                [np.nan] * len(signs) if failed else np.multiply(values, signs)
            )
            limits.append(trial.constraints)
        names = sorted({name for some in limits for name in some})
        # a pruned trial did not come to its limits: unknown counts as kept
        broken = [[some.get(name, 0.0) for name in names] for some in limits]
        broken = np.array(broken, dtype=float).reshape(len(points), len(names))
        return History(
            np.array(points).reshape(-1, len(space)),
            scaled(np.array(losses).reshape(-1, len(signs)))[0],
            scaled(broken)[0],
            np.array(pending).reshape(-1, len(space)),
        )

    def _spread(self, encoding: Encoding, number: int) -> np.ndarray:
        """A point of the Sobol sequence, scrambled by the seed."""
        from scipy.stats import qmc

        engine = qmc.Sobol(len(encoding.names), rng=self._seed)
        size = 1 << number.bit_length()  # whole powers of two keep it balanced
        return encoding.snap(engine.random(size)[number][None])[0]

    def _child(self, encoding: Encoding, history: History, rng) -> np.ndarray:
        """Plain NSGA-II: a child of two good parents."""
        order = select(history.losses, self.population_size, history.ranks())
        parents = history.points[order]
        pair = parents[rng.integers(len(parents), size=2)][:, None]
        child = crossover(pair[0], pair[1], encoding.categories, rng)
        return encoding.snap(mutate(child, encoding.categories, rng))[0]

    def _fitted(self, encoding: Encoding, history: History, space: tuple) -> list:
        """The models' lengths, of the first trials, so that resuming changes nothing."""
        count = last_refit(min(len(history), MOST), self.startup)
        limits = history.violations.shape[1]
        known = self._lengths
        if known is None or known[0] != (count, space, limits):
            fitted = lengths(encoding, history.first(count).filled())
            self._lengths = known = (count, space, limits), fitted
        return known[1]


def common_space(trials: Sequence) -> Distributions:
    """What the trials that gave something drew, by name.

    Hyperparameters that only some have are in it, those whose range changed are not.
    """
    space, changed = {}, set()
    for trial in trials:
        if trial.state in (State.COMPLETE, State.PRUNED):
            for name, distribution in trial.distributions.items():
                if space.setdefault(name, distribution) != distribution:
                    changed.add(name)
    names = sorted(name for name in space if name not in changed)
    return {name: space[name] for name in names if not space[name].single()}


def _most_telling(history: History) -> History:
    """Half of them the best, half the latest."""
    best = select(history.losses, MOST // 2, history.ranks())
    rest = np.setdiff1d(np.arange(len(history)), best)[-(MOST - len(best)) :]
    chosen = np.sort(np.concatenate([best, rest]))
    parts = history.points, history.losses, history.violations
    return History(*(part[chosen] for part in parts), history.pending)
