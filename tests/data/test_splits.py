"""Splits by group: no group on both sides, sizes and strata as near as groups allow."""

import numpy as np
import pytest
import torch

from deepseek_learn import data
from deepseek_learn.data import SeriesDataset
from deepseek_learn.data.splits import PARTS, group_parts


def dataset(groups, labels=None) -> SeriesDataset:
    n = len(groups)
    labels = torch.zeros(n) if labels is None else torch.as_tensor(labels)
    return SeriesDataset(
        torch.arange(n).float().reshape(n, 1, 1), labels, groups=groups
    )


def rows(part) -> set[int]:
    return set(part.inputs.flatten().int().tolist())


def random_case(seed: int):
    """Groups of random sizes, strata that depend on the group, fractions."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, rng.integers(2, 40), rng.integers(12, 60))
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    strata = (groups + rng.integers(0, 2, len(groups))) % rng.integers(1, 5)
    return groups, strata, (rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.4))


def test_no_group_is_in_two_parts_and_sizes_fit_on_200_random_cases():
    for seed in range(200):
        groups, strata, fractions = random_case(seed)
        parts = group_parts(groups, strata, fractions, seed)
        owners = {}
        for group, part in zip(groups.tolist(), parts, strict=True):
            assert owners.setdefault(group, part) == part
        largest = np.bincount(groups).max()
        targets = dict(zip(PARTS[1:], fractions, strict=True))
        targets["train"] = 1 - sum(fractions)
        for part, target in targets.items():
            size = (parts == part).sum()
            assert size > 0
            assert abs(size - target * len(groups)) <= largest + 1e-9


def test_strata_are_nearer_to_their_proportions_than_without():
    off = {}
    for stratified in (True, False):
        errors = []
        for seed in range(40):
            groups, strata, fractions = random_case(seed)
            labels = strata if stratified else np.zeros_like(strata)
            parts = group_parts(groups, labels, fractions, seed)
            share = np.bincount(strata) / len(strata)
            test = strata[parts == "test"]
            mix = np.bincount(test, minlength=len(share)) / len(test)
            errors.append(np.abs(mix - share).sum())
        off[stratified] = np.mean(errors)
    assert off[True] < 0.6 * off[False]


def test_every_item_is_in_exactly_one_part_and_the_seed_decides():
    groups = np.repeat(np.arange(20), 5)
    items = dataset(groups)
    for by in ("groups", None):
        parts = data.split(items, seed=1, by=by)
        assert sorted(i for part in parts for i in rows(part)) == list(range(100))
        again = data.split(items, seed=1, by=by)
        assert all(rows(a) == rows(b) for a, b in zip(parts, again, strict=True))
        other = data.split(items, seed=2, by=by)
        assert rows(parts[2]) != rows(other[2])


def test_at_random_strata_keep_their_proportions():
    labels = np.repeat([0, 1], [80, 20])
    items = dataset(np.arange(100), labels)
    train, validation, test = data.split(items, (0.2, 0.3), by=None, stratify=labels)
    assert [len(p) for p in (train, validation, test)] == [50, 20, 30]
    assert test.labels.sum() == 6


def test_without_validation_it_is_empty():
    train, validation, test = data.split(dataset(list("aabb")), (0, 0.5))
    assert [len(p) for p in (train, validation, test)] == [2, 0, 2]


def test_no_part_stays_empty():
    parts = group_parts(np.repeat(np.arange(3), 10), np.zeros(30), (0.05, 0.05))
    assert {*parts} == {*PARTS}


def test_refusals():
    one = dataset([7, 7, 7])
    with pytest.raises(ValueError, match="each of the 3 parts; got 1"):
        data.split(one)
    with pytest.raises(ValueError, match="each of the 2 parts; got 1"):
        data.split(one, (0, 0.5))
    with pytest.raises(ValueError, match=r"groups are None; pass groups=.*by=None"):
        data.split(SeriesDataset(torch.zeros(3, 1, 1), torch.zeros(3)))
    with pytest.raises(ValueError, match="by must be \"groups\" or None; got 'person'"):
        data.split(one, by="person")
    with pytest.raises(ValueError, match=r"sum below 1 .*; got \(0.5, 0.6\)"):
        data.split(one, (0.5, 0.6))
    with pytest.raises(ValueError, match=r"each of the 3 items.*got shape \[2\]"):
        data.split(one, stratify=[0, 1])
