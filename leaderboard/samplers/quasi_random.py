"""A scrambled Sobol sequence."""

from optuna.samplers import QMCSampler


def sampler(seed):
    return QMCSampler(seed=seed)
