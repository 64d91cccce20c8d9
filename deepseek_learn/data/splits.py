"""Split a dataset into training, validation and test sets, at random or by group."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import torch

from ..catalog import spoken
from ..registry import Registry
from .card import DataCard
from .dataset import LabeledDataset

Kind = TypeVar("Kind", bound=LabeledDataset)
# An industry's dataset is in its solution, which stands above this package and registers
# it. Only the module's name is here, so that imports run downwards.
datasets: Registry[Callable[..., Any]] = Registry(
    "dataset",
    modules={
        "mail": "deepseek_learn.solutions.mail.corpus",
        "movements": "deepseek_learn.solutions.movement.hapt",
        "reviews": "deepseek_learn.solutions.reviews.corpus",
    },
)
Strata = Sequence[Any] | np.ndarray  # also pandas
PARTS = ("train", "validation", "test")
CANDIDATES = 8  # number of groups that each step of `group_parts` chooses from


@dataclass(frozen=True)
class Splits(Generic[Kind]):
    """A dataset that is split into training, validation and test sets.

    >>> from deepseek_learn import data
    >>> splits = data.digits()
    >>> len(splits.train), len(splits.validation), len(splits.test), len(splits.classes)
    (1078, 269, 450, 10)
    >>> len(splits.whole())
    1797
    """

    train: Kind
    validation: Kind
    test: Kind
    classes: tuple[str, ...]
    card: DataCard

    def __repr__(self) -> str:
        sizes = "/".join(str(len(getattr(self, part))) for part in PARTS)
        return (
            f"Splits({self.card.name}: train/validation/test = {sizes}, "
            f"classes {self.classes})"
        )

    def whole(self) -> Kind:
        """Return all items as a single dataset, which can then be split differently."""
        parts = [getattr(self, part) for part in PARTS]
        whole = copy.copy(self.train)
        whole.inputs = torch.cat([part.inputs for part in parts])
        whole.labels = torch.cat([part.labels for part in parts])
        whole.frame = pd.concat([part.frame for part in parts], ignore_index=True)
        if whole.groups is not None:
            whole.groups = np.concatenate([part.groups for part in parts])
        return whole

    def to_frame(self) -> pd.DataFrame:
        """Count the items of each class in each part.

        For masks, pixels are counted instead of items.
        """
        count = len(self.classes)
        labels = {part: getattr(self, part).labels.flatten().numpy() for part in PARTS}
        counts = {part: np.bincount(y, minlength=count) for part, y in labels.items()}
        return pd.DataFrame(counts, index=pd.Index(self.classes, name="class"))


def split_by(
    parts: np.ndarray, whole: Kind, classes: Sequence[str], card: DataCard
) -> Splits[Kind]:
    """Split a dataset according to an array of part names.

    `parts` contains "train", "validation" or "test" for each item of `whole`.

    >>> import numpy as np
    >>> from deepseek_learn import data
    >>> digits = data.digits()
    >>> parts = np.array(["train", "validation", "test"] * 599)
    >>> splits = data.split_by(parts, digits.whole(), digits.classes, digits.card)
    >>> len(splits.test)
    599
    """
    card = spoken(card)
    train, validation, test = (whole.subset(parts == name) for name in PARTS)
    for subset in (train, validation, test):
        subset.card = card
    return Splits(train, validation, test, tuple(classes), card)


def random_parts(
    strata: Strata, fractions: tuple[float, float], seed: int = 0
) -> np.ndarray:
    """Split at random within each stratum and return the part name of each row.

    Args:
        strata: labels of shape `[N]`. All strata are divided in the same proportions.
        fractions: the fractions of the data used for validation and testing.

    Returns:
        An array of shape `[N]` with "train", "validation" or "test" for each row.

    >>> from deepseek_learn import data
    >>> parts = data.random_parts([0, 1] * 50, (0.2, 0.2))
    >>> {str(part): int((parts == part).sum()) for part in ("train", "validation", "test")}
    {'train': 60, 'validation': 20, 'test': 20}
    """
    rng = np.random.default_rng(seed)
    strata = np.asarray(strata)
    parts = np.full(len(strata), "train", dtype=object)
    for stratum in sorted(set(strata.tolist())):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        validation, test = (round(f * len(rows)) for f in fractions)
        parts[rows[:test]] = "test"
        parts[rows[test : test + validation]] = "validation"
    return parts


def group_parts(
    groups: Strata, strata: Strata, fractions: tuple[float, float], seed: int = 0
) -> np.ndarray:
    """Split whole groups at random and return the part name of each row.

    Each step adds one group to the part that still needs the most rows. Among a few
    randomly drawn groups, it picks the group that brings the part's strata closest to
    their proportions in the whole dataset. The size of a part is therefore off by less
    than the size of the largest group, unless a part would otherwise stay empty.

    Args:
        groups, strata: labels of shape `[N]`.
        fractions: the fractions of the data used for validation and testing. A part
            with a fraction of 0 is empty.

    Returns:
        An array of shape `[N]` with "train", "validation" or "test" for each row.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    _, stratum = np.unique(np.asarray(strata), return_inverse=True)
    counts = np.zeros((group.max() + 1, stratum.max() + 1))  # [groups, strata]
    np.add.at(counts, (group, stratum), 1)
    share = counts.sum(0) / len(group)
    target = np.array([1 - sum(fractions), *fractions]) * len(group)
    filled = np.zeros((len(PARTS), counts.shape[1]))  # [parts, strata]
    part_of = np.empty(len(counts), dtype=int)
    remaining = list(range(len(counts)))
    while remaining:
        # 1. pick the part that lacks the most rows, or an empty part if every remaining
        # group is needed to fill one
        lack = np.where(target > 0, target - filled.sum(1), -np.inf)
        empty = (filled.sum(1) == 0) & (target > 0)
        lack = np.where(empty, lack, -np.inf) if empty.sum() == len(remaining) else lack
        part = int(lack.argmax())
        # 2. pick the group that best keeps the strata of this part in proportion
        drawn = rng.choice(remaining, min(CANDIDATES, len(remaining)), replace=False)
        after = filled[part] + counts[drawn]  # [drawn, strata]
        error = np.abs(after - after.sum(1, keepdims=True) * share).sum(1)
        best = int(drawn[error.argmin()])
        part_of[best] = part
        filled[part] += counts[best]
        remaining.remove(best)
    return np.array(PARTS, dtype=object)[part_of[group]]


def split(
    dataset: Kind,
    fractions: tuple[float, float] = (0.15, 0.25),
    *,
    seed: int = 0,
    by: str | None = "groups",
    stratify: Sequence[Any] | np.ndarray | None = None,
) -> tuple[Kind, Kind, Kind]:
    """Split a dataset into training, validation and test sets.

    The same seed always gives the same split.

    Args:
        fractions: the fractions of the data used for validation and testing. The
            validation fraction may be 0.
        by: "groups" to keep all items of a group in the same part, or None to split at
            random, even within groups. A random split usually inflates the score; use
            `data.leak` to measure by how much.
        stratify: the class of each item, of shape `[N]`, such as its label. All classes
            are divided in the same proportions. When splitting by groups, the
            proportions are matched as closely as the group sizes allow.

    Raises:
        ValueError: if `by` is "groups" and the dataset has no groups or fewer groups
            than parts, or if `fractions`, `by` or `stratify` is invalid.

    >>> import torch
    >>> from deepseek_learn import data
    >>> x = torch.rand(40, 3, 20)
    >>> people = [i // 4 for i in range(40)]
    >>> dataset = data.SeriesDataset(x, torch.arange(40) % 2, groups=people)
    >>> train, validation, test = data.split(dataset)
    >>> set(train.groups) & set(test.groups)  # no person is on both sides
    set()
    """
    validation, test = fractions
    if not (validation >= 0 and test > 0 and validation + test < 1):
        raise ValueError(
            f"fractions must be (validation, test) with a sum below 1 and a test "
            f"fraction above 0; got {fractions}."
        )
    strata = np.zeros(len(dataset), int) if stratify is None else np.asarray(stratify)
    if strata.shape != (len(dataset),):
        raise ValueError(
            f"stratify must contain one class for each of the {len(dataset)} items, or "
            f"be None; got shape {list(strata.shape)}."
        )
    if by is None:
        parts = random_parts(strata, fractions, seed)
    else:
        groups = _groups(dataset, by, 2 + (validation > 0))
        parts = group_parts(groups, strata, fractions, seed)
    train, held_out, final = (dataset.subset(parts == name) for name in PARTS)
    return train, held_out, final


def _groups(dataset: LabeledDataset, by: str, parts: int) -> np.ndarray:
    """Return the groups to split by, or raise a ValueError if that is impossible."""
    if by != "groups":
        raise ValueError(f'by must be "groups" or None; got {by!r}.')
    if dataset.groups is None:
        raise ValueError(
            "dataset must have groups to be split by group, but its groups are None; "
            "pass groups=... when creating it, or by=None for a random split."
        )
    count = len(np.unique(dataset.groups))
    if count < parts:
        raise ValueError(
            f"dataset must have at least one group for each of the {parts} parts; got "
            f"{count}."
        )
    return dataset.groups
