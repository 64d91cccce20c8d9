"""Auto-tuner on Optuna: genetic search on a surrogate, pruning by domination count."""

from .. import lazy

_LAZY = {
    "AutoTuner": "auto_tuner",
    "DominationPruner": "pruning",
    "EnergyMeter": "energy",
    "GeneticSampler": "sampler",
    "Latency": "timing",
    "Measured": "measuring",
    "ObjectiveError": "errors",
    "Solution": "study",
    "StorageError": "errors",
    "Study": "study",
    "Trial": "trial",
    "TunerError": "errors",
    "crowding_distance": "pareto",
    "dominates": "pareto",
    "domination_count": "pareto",
    "hypervolume": "pareto",
    "knee": "pareto",
    "latency": "timing",
    "measured_energy": "energy",
    "measured_error": "measuring",
    "measured_median": "measuring",
    "nondominated_rank": "pareto",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
