"""Optuna's NSGA-II with a population of 20."""

from optuna.samplers import NSGAIISampler


def sampler(seed):
    return NSGAIISampler(population_size=20, seed=seed)
