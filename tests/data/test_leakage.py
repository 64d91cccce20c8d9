"""`data.leak` finds a leak that is there, none where there is none, and says so."""

import numpy as np
import pytest
import torch
from scipy import stats

from deepseek_learn import catalog, data
from deepseek_learn.data import SeriesDataset
from deepseek_learn.data.leakage import student_t


def people(leaky: bool, groups: int = 200, each: int = 4) -> SeriesDataset:
    """Series that show who the person is; the label is the person's, or a coin's."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(groups), each)
    face = rng.normal(size=(groups, 8))[person] + 0.05 * rng.normal(
        size=(len(person), 8)
    )
    labels = rng.integers(0, 2, groups if leaky else len(person))
    labels = labels[person] if leaky else labels
    x = torch.tensor(face, dtype=torch.float32)[:, None]  # [N, 1, 8]
    return SeriesDataset(x, torch.tensor(labels), groups=person)


def nearest_neighbor(train, validation, test) -> float:
    distances = torch.cdist(test.batch()[0].flatten(1), train.batch()[0].flatten(1))
    guess = train.labels[distances.argmin(1)]
    return (guess == test.labels).float().mean().item()


def test_a_leak_is_measured():
    report = data.leak(people(leaky=True), nearest_neighbor)
    low, high = report.interval
    assert 0 < low < 0.5 < high  # by group only guessing remains, 0.5
    assert 0.35 < report.difference < 0.6
    assert report.scores["random"].min() > 0.95  # it recognizes the person
    assert report.groups == 200
    assert "inflates the score by" in report.why()
    assert f"{report.difference:.3g}" in report.why()


def test_without_a_leak_the_splits_cannot_be_told_apart():
    report = data.leak(people(leaky=False), nearest_neighbor, seeds=range(8))
    low, high = report.interval
    assert low < 0 < high
    assert "cannot be told apart" in report.why()


def test_a_score_that_is_lower_at_random_is_called_that():
    dataset = people(leaky=True)

    def opposite(train, validation, test) -> float:
        return 1 - nearest_neighbor(train, validation, test)

    assert "would do the opposite" in data.leak(dataset, opposite).why()


def test_both_splits_have_the_same_options():
    calls = []

    def record(*parts) -> float:
        calls.append(parts)
        return float(len(calls) % 3)

    dataset = people(leaky=True)
    data.leak(dataset, record, seeds=[3, 4], fractions=(0.0, 0.5))
    assert [[len(p) for p in parts] for parts in calls] == [[400, 0, 400]] * 4
    for at_random, grouped in (calls[:2], calls[2:]):
        shared = [{*p[0].groups} & {*p[2].groups} for p in (at_random, grouped)]
        assert shared[0]
        assert not shared[1]


def test_the_interval_is_the_corrected_t():
    scores = iter([0.9, 0.5, 0.8, 0.6, 0.95, 0.55])
    report = data.leak(people(True), lambda *parts: next(scores), seeds=range(3))
    d = np.array([0.4, 0.2, 0.4])
    half = stats.t.ppf(0.975, 2) * d.std(ddof=1) * np.sqrt(1 / 3 + 0.25 / 0.6)
    assert np.allclose(report.interval, (d.mean() - half, d.mean() + half), rtol=1e-4)


@pytest.mark.parametrize("freedom", [1, 2, 4, 9, 30, 200])
def test_student_t(freedom):
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-4)


def test_the_report_shows_both_scores(monkeypatch):
    report = data.leak(people(leaky=True), nearest_neighbor, seeds=[0, 1])
    assert list(report.to_frame().index) == [
        "random split",
        "split by group",
        "difference",
    ]
    assert len(report.plot().data) == 3  # two seeds and the mean
    monkeypatch.setattr(catalog, "_current", "zh")
    assert "随机划分" in report.why()
    assert list(report.to_frame().index) == ["随机划分", "按组划分", "差值"]


def test_refusals():
    dataset = people(leaky=True)
    with pytest.raises(ValueError, match=r"at least 2 different seeds; got \[1, 1\]"):
        data.leak(dataset, nearest_neighbor, seeds=[1, 1])
    with pytest.raises(
        ValueError, match="finite score; got nan for the random split of"
    ):
        data.leak(dataset, lambda *parts: float("nan"))
    dataset.groups = None
    with pytest.raises(ValueError, match="groups are None"):
        data.leak(dataset, nearest_neighbor)
