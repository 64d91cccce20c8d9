"""The project's sampler without its surrogate model."""

from deepseek_learn.tuner import GeneticSampler


def sampler(seed):
    return GeneticSampler(seed=seed, surrogate=False)
