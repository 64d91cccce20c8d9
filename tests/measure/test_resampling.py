"""The bootstrap against SciPy's, against theory, and its groups and strata."""

from itertools import islice

import numpy as np
import pytest
from scipy import stats

from deepseek_learn import measure
from deepseek_learn.measure.resampling import samples

VALUES = np.random.default_rng(1).exponential(size=60)


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std])
def test_it_is_that_of_scipy(statistic):
    """SciPy draws the same samples for the same seed."""
    peer = stats.bootstrap(
        [VALUES], statistic, rng=3, n_resamples=400, method="percentile"
    ).confidence_interval
    ours = measure.bootstrap(
        lambda rows: statistic(VALUES[rows]), len(VALUES), repeats=400, seed=3
    )
    assert (ours.value, ours.n) == (statistic(VALUES), len(VALUES))
    assert (ours.low, ours.high) == pytest.approx((peer.low, peer.high))


def test_groups_are_drawn_whole():
    groups = np.array(["b", "a", "c", "a", "b", "a"])
    for rows in islice(samples(groups), 50):
        counts = np.bincount(rows, minlength=len(groups))
        for name in "abc":
            assert len(set(counts[groups == name])) == 1  # each item equally often
        assert sum(counts[[0, 1, 2]]) == 3  # one of each group: as many as there are


def test_every_sample_keeps_the_strata():
    strata = np.array([1, 0, 1, 1, 0, 1])
    groups = np.array([0, 1, 2, 0, 1, 3])
    for rows in islice(samples(len(strata), strata), 50):
        assert np.bincount(strata[rows]).tolist() == [2, 4]
    for rows in islice(samples(groups, strata), 50):
        assert (strata[rows] == 0).sum() == 2  # its only group
        picked = [len({*np.flatnonzero(groups == g)} & {*rows}) for g in (0, 2, 3)]
        assert picked[0] in (0, 2)


def test_dependent_items_widen_the_interval():
    """Each item is there ten times: the standard error stays that of the originals."""
    copies, origin = np.repeat(VALUES, 10), np.repeat(np.arange(len(VALUES)), 10)

    def width(groups):
        mean = measure.bootstrap(lambda rows: copies[rows].mean(), groups)
        return mean.high - mean.low

    theory = 2 * 1.96 * VALUES.std() / len(VALUES) ** 0.5
    assert width(origin) == pytest.approx(theory, rel=0.1)
    assert width(len(copies)) == pytest.approx(theory / 10**0.5, rel=0.1)


def test_a_sample_without_a_value_is_drawn_again():
    rare = np.array([1.0, 0, 0, 0])

    def share(rows):
        return 1 / rare[rows].sum() if rare[rows].sum() else np.nan

    estimate = measure.bootstrap(share, len(rare), repeats=200)
    assert (estimate.value, estimate.high) == (1, 1)
    assert 0.25 <= estimate.low < 1
    nothing = measure.bootstrap(lambda rows: np.nan, 3)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_it_is_rounded_for_a_card():
    estimate = measure.bootstrap(lambda rows: VALUES[rows].mean(), len(VALUES))
    assert estimate.to_dict(2) == {
        "value": round(estimate.value, 2),
        "low": round(estimate.low, 2),
        "high": round(estimate.high, 2),
        "n": 60,
    }


@pytest.mark.parametrize(("groups", "strata"), [(3, [0, 1]), ([1, 2], [1])])
def test_what_it_refuses(groups, strata):
    with pytest.raises(ValueError, match="strata a class for each; got"):
        measure.bootstrap(lambda rows: 1.0, groups, strata=strata)
    with pytest.raises(ValueError, match="at least one item"):
        measure.bootstrap(lambda rows: 1.0, [])
