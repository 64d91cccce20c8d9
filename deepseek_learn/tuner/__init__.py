"""Multi-objective hyperparameter search, built on Optuna.

It combines a genetic algorithm with a surrogate model. Trials can also be stopped early,
by domination count (see `DominationPruner` for when that pays).
Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

from .. import lazy

_LAZY = {
    "AutoTuner": "auto_tuner",
    "DominationPruner": "pruning",
    "EnergyMeter": ".measure.energy",
    "GeneticSampler": "sampler",
    "Latency": ".measure.timing",
    "Measured": ".measure.measured",
    "ObjectiveError": "errors",
    "Solution": "results",
    "StorageError": "errors",
    "Study": "study",
    "Trial": "trial",
    "TunerError": "errors",
    "crowding_distance": "pareto",
    "dominates": "pareto",
    "domination_count": "pareto",
    "hypervolume": "pareto",
    "knee": "pareto",
    "latency": ".measure.timing",
    "measured_energy": ".measure.energy",
    "measured_error": ".measure.measured",
    "measured_median": ".measure.measured",
    "nondominated_rank": "pareto",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
