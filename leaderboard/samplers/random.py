"""Random search."""

from optuna.samplers import RandomSampler


def sampler(seed):
    return RandomSampler(seed=seed)
