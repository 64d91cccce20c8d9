"""Genetic search on a surrogate, for Optuna: skeleton, signatures are final."""

from optuna.samplers import RandomSampler


class GeneticSampler(RandomSampler):
    def __init__(
        self,
        *,
        population_size: int = 20,
        startup: int = 10,
        children: int = 200,
        surrogate: str | None = "auto",
        seed: int | None = None,
    ):
        super().__init__(seed)
