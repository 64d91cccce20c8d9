"""The reference: Optuna's tree-structured Parzen estimator, as it comes."""

from optuna.samplers import TPESampler


def sampler(seed):
    return TPESampler(seed=seed)
