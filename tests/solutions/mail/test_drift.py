"""A change of the share is noticed, and rarely where there is none."""

import numpy as np
import pytest

from deepseek_learn.solutions.mail.drift import REFERENCE, changes


def stream(*parts: tuple[int, float], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(count) < share for count, share in parts])


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.4), (0.5, 0.15), (0.02, 0.3)])
def test_a_change_is_found_where_it_is(before, after):
    streams = [stream((800, before), (800, after), seed=seed) for seed in range(10)]
    first = [changes(each)[0] for each in streams]
    assert sum(each.alarm >= 800 for each in first) >= 9
    assert np.median([each.alarm for each in first]) < 900
    assert np.median([abs(each.start - 800) for each in first]) < 30
    assert np.median([each.before for each in first]) == pytest.approx(before, abs=0.03)
    assert np.median([each.after for each in first]) == pytest.approx(after, abs=0.12)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_without_a_change_there_are_few_alarms(share):
    length = REFERENCE + 1000
    alarms = sum(bool(changes(stream((length, share), seed=s))) for s in range(60))
    assert alarms <= 9  # 3 are expected; more than 9 occur once in 1,400 times


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_a_long_quiet_stream_does_not_alarm_by_itself(share):
    lengths = [len(changes(stream((10_000, share), seed=seed))) for seed in range(5)]
    assert np.mean(lengths) < 2  # ten horizons, of which one in twenty alarms


def test_after_an_alarm_the_new_share_is_learned():
    found = changes(stream((800, 0.1), (1500, 0.6), (800, 0.1)))
    assert len(found) == 2
    assert found[1].before == pytest.approx(0.6, abs=0.1)
    assert found[1].after < 0.3


def test_short_streams_and_bad_references():
    assert changes([]) == []
    assert changes([True] * REFERENCE) == []
    with pytest.raises(ValueError, match="at least 50; got 10"):
        changes([True], reference=10)
