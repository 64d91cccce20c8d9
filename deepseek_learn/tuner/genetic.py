"""Genetic operators on the unit cube, for both numbers and categories.

Parents are selected as in NSGA-II. Children are bred by simulated binary crossover and
polynomial mutation (Deb & Agrawal 1995, "Simulated binary crossover for continuous
search space", Complex Systems 9; Deb & Goyal 1996, "A combined genetic adaptive search
(GeneAS) for engineering design", Computer Science and Informatics 26). A category is
inherited from either parent, and a mutation resamples it. See `encoding.py` for the
encoding of numbers.
"""

import numpy as np

from .pareto import crowding_distance, nondominated_rank


def select(values: np.ndarray, size: int, rank: np.ndarray | None = None) -> np.ndarray:
    """Return the indices of the `size` best points.

    Points are sorted by front, and within a front by crowding distance.

    Args:
        values: the objective values, of shape `[N, M]`, which are minimized.
        rank: the rank of each point, of shape `[N]`; by default, the index of its
            front.

    Returns:
        An int64 array of shape `[min(size, N)]`, best first.
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
    """Breed one child from each pair of parents.

    A number becomes c = ((1 + b) x + (1 - b) y) / 2, where b is drawn from the
    distribution that spreads children in the same way as binary crossover. The
    distribution is narrower for a larger `eta`. A category is inherited from the second
    parent.

    Args:
        first, second: the parents, each of shape `[N, D]`.
        categories: the number of categories in each column, an int array of shape
            `[D]`; 0 if the column is a number.
        share: the fraction of the columns to cross. The others keep the value of the
            first parent.

    Returns:
        The children, a float array of shape `[N, D]` with values in 0..1.
    """
    # 1. Blend the numbers; b < 1 draws the child between its parents, b > 1 outside.
    u = rng.random(first.shape)
    spread = np.where(u < 0.5, 2 * u, 0.5 / np.maximum(1 - u, 1e-12)) ** (1 / (eta + 1))
    blend = 0.5 * ((1 + spread) * first + (1 - spread) * second)
    # 2. There is nothing between two categories, so take the second parent's.
    offspring = np.where(categories > 0, second, blend)
    # 3. Cross only some of the columns, so that good combinations survive.
    cross_mask = rng.random(first.shape) < share
    return np.clip(np.where(cross_mask, offspring, first), 0, 1)


def mutate(
    points: np.ndarray,
    categories: np.ndarray,
    rng: np.random.Generator,
    probability: float | None = None,
    eta: float = 20.0,
) -> np.ndarray:
    """Mutate a random subset of the columns of each point.

    Numbers undergo polynomial mutation, with smaller steps for a larger `eta`.
    Categories are resampled from all choices.

    Args:
        probability: the probability of changing a column; 1 / D by default.

    Returns:
        The mutated points, a float array of shape `[N, D]` with values in 0..1.
    """
    probability = 1 / points.shape[1] if probability is None else probability
    u = rng.random(points.shape)
    low, high = 2 * u, 2 * (1 - u)
    step = np.where(u < 0.5, low ** (1 / (eta + 1)) - 1, 1 - high ** (1 / (eta + 1)))
    mutants = np.where(categories > 0, rng.random(points.shape), points + step)
    mutation_mask = rng.random(points.shape) < probability
    return np.clip(np.where(mutation_mask, mutants, points), 0, 1)
