"""The interface of a task, and its splits by group."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....registry import Registry


@dataclass(frozen=True, eq=False)
class Draw:
    """The data of one run.

    Attributes:
        x: the training inputs: a list of N texts, or a float32 array `[N, ...]`.
        y: the training classes, int64 `[N]`.
        test_x: the test inputs: M texts, or a float32 array `[M, ...]`.
        test_y: the test classes, int64 `[M]`, which the project never sees.
    """

    x: Any
    y: np.ndarray
    test_x: Any
    test_y: np.ndarray


Task = Callable[[np.random.Generator, bytes | None], Draw]
tasks: Registry[Task] = Registry("task")


def draw(task: str, seed: int, data: bytes | None = None) -> Draw:
    """Draw the data of a run, deterministically from a seed.

    Args:
        task: the name of a task.
        data: the learner's own data, for the task `own`.

    Raises:
        UnknownNameError: if there is no such task.
        MissingPackageError: if its data is in a package that is not installed.
        Refused: if the learner's own data cannot be used.
    """
    return tasks[task](np.random.default_rng(seed), data)


def hold_out(
    groups: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled training and test indices; no group is on both sides."""
    names = rng.permutation(np.unique(groups))
    test = np.isin(groups, names[: max(1, round(fraction * len(names)))])
    return rng.permutation(np.flatnonzero(~test)), rng.permutation(np.flatnonzero(test))


def texts(column: Collection[str], index: np.ndarray) -> list[str]:
    values = list(column)
    return [str(values[i]) for i in index]
