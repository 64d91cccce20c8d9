"""Probabilities are calibrated, intervals keep their promise, thresholds theirs."""

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from deepseek_learn.solutions.nodules.finding import Finding
from deepseek_learn.solutions.nodules.measure import judge
from deepseek_learn.solutions.nodules.uncertainty import (
    ScoreCalibration,
    calibrate,
    calibration_error,
    conformal,
    platt,
)


def overconfident(seed, count=4000):
    """Scores whose logits are twice as large as they should be, and shifted."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, count)
    hits = rng.random(count) < special.expit(logit)
    return special.expit(2 * logit + 0.5), hits


def test_platt_scaling_finds_what_was_done_to_the_logits():
    scores, hits = overconfident(0)
    slope, intercept = platt(scores, hits)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert intercept == pytest.approx(-0.25, abs=0.1)
    x = special.logit(scores)[:, None]
    peer = LogisticRegression(C=1e9).fit(x, hits)
    assert slope == pytest.approx(peer.coef_[0, 0], rel=0.01)


def test_calibration_lowers_the_error_on_new_scores():
    calibration = ScoreCalibration(*platt(*overconfident(0)), 1.2, {})
    scores, hits = overconfident(1)
    before = calibration_error(scores, hits)
    after = calibration_error(calibration.probability(scores), hits)
    assert after < 0.03 < before


def test_the_calibration_error_by_hand():
    probability, hits = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 1, 1, 1], bool)
    assert calibration_error(probability, hits) == pytest.approx((0.8 + 0.2) / 4)


def test_a_conformal_bound_holds_as_often_as_promised():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        errors = rng.exponential(size=20)
        inside.append(rng.exponential() <= conformal(errors))
    # Binomial: 2000 draws with probability 19/21 ≈ 0.905 have a deviation of 0.0066
    assert 0.9 - 3 * 0.0066 < np.mean(inside) < 0.905 + 3 * 0.0066
    assert conformal(range(1, 10)) == 9
    with pytest.raises(ValueError, match="at least 9 values"):
        conformal([1.0] * 8)


def test_a_calibration_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    nodules = [np.array([[0.0, 0, 0, 10]])] * 20
    marks = [
        np.array([[rng.uniform(0.3, 1), 1.0, 0, 0], [rng.uniform(0, 0.7), 50, 0, 0]])
        for _ in range(20)
    ]
    judged = judge(marks, nodules)
    diameters = [(10.0, 10 * np.exp(rng.normal(0, 0.1))) for _ in range(20)]
    calibration = calibrate(judged, diameters)
    calibration.save(tmp_path / "c.json")
    assert ScoreCalibration.load(tmp_path / "c.json") == calibration
    finding = calibration.apply(Finding((0.0, 0, 0), 8.0, 0.9))
    low, high = finding.diameters_mm
    assert low < 8 < high < 8 * 1.5
    assert finding.probability == pytest.approx(float(calibration.probability(0.9)))
    for rate in (0.25, 0.5):
        false = calibration.probability(judged.scores[~judged.hits])
        assert (false >= calibration.threshold(rate)).sum() / 20 <= rate
    with pytest.raises(ValueError, match="rate must be one of"):
        calibration.threshold(0.3)
