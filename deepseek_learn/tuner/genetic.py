"""Genetic operators on the unit cube, for numbers and categories together.

Parents are selected as in NSGA-II, and children are made by simulated binary crossover
and polynomial mutation (Deb & Agrawal 1995, "Simulated binary crossover for continuous
search space", Complex Systems 9; Deb & Goyal 1996, "A combined genetic adaptive search
(GeneAS) for engineering design", Computer Science and Informatics 26); categories are
inherited from either parent and resampled. Numbers are encoded by `encoding.py`.
"""

import numpy as np

from .pareto import crowding_distance, nondominated_rank


def select(values: np.ndarray, size: int, rank: np.ndarray | None = None) -> np.ndarray:
    """Return the indices of the `size` best, by front and then by crowding distance.

    Args:
        values: `[N, M]`, minimized.
        rank: `[N]`, used in place of the index of each point's front.

    Returns:
        int64 `[min(size, N)]`, best first.
    """
    rank = nondominated_rank(values) if rank is None else rank
    crowding = np.zeros(len(values))
    for front in np.unique(rank):
        members = np.flatnonzero(rank == front)
        crowding[members] = crowding_distance(values[members])
    return np.lexsort((-crowding, rank))[:size]


def crossover(
    first: np.ndarray,
    second: np.ndarray,
    categories: np.ndarray,
    rng: np.random.Generator,
    eta: float = 15.0,
    share: float = 0.5,
) -> np.ndarray:
    """Breed one child from each pair of parents, float `[N, D]` in 0..1.

    A number becomes c = ((1 + b) x + (1 - b) y) / 2, with b drawn from the
    distribution that spreads children as binary crossover does, more narrowly for a
    larger `eta`. A category is inherited from the second parent.

    Args:
        first, second: the parents, `[N, D]`.
        categories: int `[D]`, 0 where the column is a number.
        share: fraction of the columns that are crossed; the others keep the first
            parent's value.
    """
    u = rng.random(first.shape)
    spread = np.where(u < 0.5, 2 * u, 0.5 / np.maximum(1 - u, 1e-12)) ** (1 / (eta + 1))
    blend = 0.5 * ((1 + spread) * first + (1 - spread) * second)
    offspring = np.where(categories > 0, second, blend)
    cross_mask = rng.random(first.shape) < share
    return np.clip(np.where(cross_mask, offspring, first), 0, 1)


def mutate(
    points: np.ndarray,
    categories: np.ndarray,
    rng: np.random.Generator,
    probability: float | None = None,
    eta: float = 20.0,
) -> np.ndarray:
    """Mutate some columns of the points, float `[N, D]` in 0..1.

    A number moves by polynomial mutation, in smaller steps for a larger `eta`; a
    category is resampled from all categories.

    Args:
        probability: the chance that a column changes; 1 / D by default.
    """
    probability = 1 / points.shape[1] if probability is None else probability
    u = rng.random(points.shape)
    low, high = 2 * u, 2 * (1 - u)
    step = np.where(u < 0.5, low ** (1 / (eta + 1)) - 1, 1 - high ** (1 / (eta + 1)))
    mutants = np.where(categories > 0, rng.random(points.shape), points + step)
    mutation_mask = rng.random(points.shape) < probability
    return np.clip(np.where(mutation_mask, mutants, points), 0, 1)
