"""The promised rate of false alarms is kept, and no rate is promised in vain."""

import numpy as np
import pytest

from deepseek_learn.solutions.factory.alarms import alarm


@pytest.mark.parametrize("count", [19, 20, 57, 200])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_the_rate_is_kept_on_average_and_not_by_far_undercut(count, rate):
    rng = np.random.default_rng(count)
    draws = rng.standard_gamma(2, (4000, count + 1))
    thresholds = np.array([alarm(draw[:-1], rate).threshold for draw in draws])
    alarms = (draws[:, -1] > thresholds).mean()
    noise = 3.5 * (rate * (1 - rate) / 4000) ** 0.5
    assert rate - 1 / (count + 1) - noise < alarms < rate + noise


def test_the_interval_covers_the_rate_of_one_set():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        result = alarm(rng.random(40), 0.1)
        covered += result.low <= 1 - result.threshold <= result.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_equal_scores_raise_no_alarm():
    assert alarm([3.0] * 50).threshold >= 3.0


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        ([1.0] * 18, 0.05, "0.05 needs the scores of at least 19 good parts; got 18"),
        ([], 0.5, "at least 1 good parts; got 0"),
        ([1.0] * 9, 1.0, "between 0 and 1; got 1"),
        ([1.0] * 9, 0.0, "between 0 and 1; got 0"),
        ([1.0] * 9, 1e-320, "rate must be at least 1e-06"),
        ([1.0, np.nan] * 20, 0.1, "must be finite; got NaN"),
    ],
)
def test_bad_arguments_are_one_sentence(scores, rate, message):
    with pytest.raises(ValueError, match=message):
        alarm(scores, rate)


def test_nineteen_parts_are_enough_for_five_percent():
    assert alarm(range(19), 0.05).threshold == 18
