"""Calibration error, reliability and temperature, against hand-worked and known cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepseek_learn.zoo.calibration import calibration_error, reliability, temperature
from deepseek_learn.zoo.metrics import at_precision


def test_reliability_by_hand():
    p = np.array([0.0, 0.1, 0.55, 0.95, 1.0])
    y = np.array([0, 1, 0, 1, 1])
    rows = reliability(p, y, bins=2)
    assert rows["low"].tolist() == [0, 0.5]
    assert rows["high"].tolist() == [0.5, 1]
    assert rows["n"].tolist() == [2, 3]
    assert rows["probability"].tolist() == pytest.approx([0.05, 2.5 / 3])
    assert rows["fraction"].tolist() == pytest.approx([1 / 2, 2 / 3])
    gap = [0.45, 2.5 / 3 - 2 / 3]
    assert calibration_error(p, y, bins=2) == pytest.approx(
        (2 * gap[0] + 3 * gap[1]) / 5
    )


def test_empty_bins_are_omitted():
    assert reliability(torch.tensor([0.05, 0.95]), torch.tensor([0, 1]))["n"].sum() == 2
    assert len(reliability(torch.tensor([0.05, 0.95]), torch.tensor([0, 1]))) == 2


def test_frequencies_equal_to_the_probabilities_have_no_error():
    p = np.repeat([0.25, 0.75], 4)
    y = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert calibration_error(p, y) == 0


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([0.5], [0, 1], r"shape \[N\]"),
        ([], [], "at least 1"),
        ([1.5], [1], "between 0 and 1; got 1.5"),
        ([float("nan")], [1], "between 0 and 1; got nan"),
        ([0.5], [2], "labels must be 0 or 1; got 2"),
    ],
)
def test_what_is_no_probability_is_refused(p, y, message):
    with pytest.raises(ValueError, match=message):
        reliability(torch.tensor(p), torch.tensor(y))


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_temperature_undoes_a_known_one(true, classes):
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(20_000, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
    assert temperature(true * z, labels) == pytest.approx(true, rel=0.05)


def test_temperature_has_the_lowest_cross_entropy():
    generator = torch.Generator().manual_seed(1)
    z = 5 * torch.randn(300, 3, generator=generator)
    labels = torch.randint(3, (300,), generator=generator)
    labels[:200] = z[:200].argmax(1)
    best = temperature(z, labels)
    losses = [F.cross_entropy(z / (best * f), labels) for f in (0.97, 1, 1.03)]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize(("labels", "side"), [([0, 1], "below"), ([1, 0], "above")])
def test_logits_without_a_best_temperature_are_refused(labels, side):
    z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    with pytest.raises(ValueError, match=f"it is {side} that range"):
        temperature(z, torch.tensor(labels))


def test_temperature_refuses_wrong_shapes_and_numbers():
    with pytest.raises(ValueError, match=r"got \[3\] and \[3\]"):
        temperature(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        temperature(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))


def test_recall_at_a_precision_by_hand():
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    positive = np.array([True, True, False, True, False])
    assert at_precision(score, positive, 0.75) == (1.0, 0.6)
    assert at_precision(score, positive, 0.76) == (pytest.approx(2 / 3), 0.8)
    assert at_precision(-score, positive, 0.9) == (0.0, np.inf)


def test_equal_scores_fall_on_the_same_side():
    score = np.array([0.5, 0.5, 0.1])
    assert at_precision(score, np.array([True, False, True]), 0.9) == (0.0, np.inf)


def test_recall_without_positives_is_refused():
    with pytest.raises(ValueError, match="at least one True"):
        at_precision(np.array([0.1]), np.array([False]), 0.9)
