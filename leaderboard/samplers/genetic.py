"""The project's sampler: a genetic search with a surrogate model."""

from deepseek_learn.tuner import GeneticSampler


def sampler(seed):
    return GeneticSampler(seed=seed)
