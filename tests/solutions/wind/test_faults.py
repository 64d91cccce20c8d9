"""Injected faults change what they should, by as much as they say, and nothing else."""

import numpy as np
import pytest

from deepseek_learn.solutions.wind.faults import CASES, KINDS, Fault, drawn, onsets
from deepseek_learn.solutions.wind.power import Curve, normal_wind

from .conftest import RATED

ONSET, HOURS = 10_000, 48.0
STOP = ONSET + 288


@pytest.fixture(scope="module")
def own_curve(farm):
    return Curve.fit(normal_wind(farm)[1], farm.power[1] / RATED)


def injected(farm, own_curve, kind, size):
    bad = Fault(kind, size, HOURS).inject(farm, 1, ONSET, own_curve)
    for name in ("power", "wind"):  # other turbines and other times
        now, before = getattr(bad, name).copy(), getattr(farm, name).copy()
        now[1, ONSET:STOP] = before[1, ONSET:STOP] = 0
        np.testing.assert_array_equal(now, before)
    before = np.maximum(farm.power[1, ONSET:STOP], 1e-9)
    changed = np.where(before > 1, bad.power[1, ONSET:STOP] / before, np.nan)
    return changed, bad.wind[1, ONSET:STOP] / farm.wind[1, ONSET:STOP]


def test_a_loss_takes_its_part(farm, own_curve):
    power, wind = injected(farm, own_curve, "loss", 0.1)
    np.testing.assert_allclose(power[np.isfinite(power)], 0.9)
    assert (wind == 1).all()


def test_an_anemometer_reads_too_much(farm, own_curve):
    power, wind = injected(farm, own_curve, "anemometer", 0.05)
    np.testing.assert_allclose(wind, 1.05)
    assert (power[np.isfinite(power)] == 1).all()


def test_a_turned_nacelle_gives_what_less_wind_would(farm, own_curve):
    power, wind = injected(farm, own_curve, "yaw", 20)
    speed = normal_wind(farm)[1, ONSET:STOP]
    assert (wind == 1).all()
    truth = own_curve(speed * np.cos(np.radians(20))) / own_curve(speed)
    seen = np.isfinite(power) & (speed > 5)
    np.testing.assert_allclose(power[seen], np.minimum(truth, 1)[seen])
    assert np.nanmax(power) <= 1
    assert np.nanmin(power) < 0.8


def test_ice_grows_stays_and_melts(farm, own_curve):
    power, _ = injected(farm, own_curve, "icing", 0.3)
    growth = (1 - power) / 0.3
    ramp = (np.arange(288) + 1) / 72
    melt = (288 - np.arange(288)) / 36
    truth = np.minimum(np.minimum(ramp, melt), 1)
    seen = np.isfinite(growth)
    assert seen.sum() > 150
    np.testing.assert_allclose(growth[seen], truth[seen], atol=1e-9)


def test_a_stuck_sensor_and_a_cap(farm, own_curve):
    bad = Fault("stuck", 0, HOURS).inject(farm, 1, ONSET, own_curve)
    assert (bad.wind[1, ONSET:STOP] == farm.wind[1, ONSET]).all()
    capped = Fault("cap", 0.5, HOURS).inject(farm, 1, ONSET, own_curve)
    assert np.nanmax(capped.power[1, ONSET:STOP]) <= 0.5 * RATED


def test_another_kind_is_refused(farm, own_curve):
    with pytest.raises(ValueError, match=r"kind must be one of yaw, .* got 'fire'"):
        Fault("fire", 1, 1).inject(farm, 0, 0, own_curve)


def test_cases_are_drawn_by_seed(farm):
    assert {case.kind for case in CASES.values()} == set(KINDS)
    one, two = (drawn("icing", np.random.default_rng(3)) for _ in range(2))
    assert one == two
    assert 0.15 <= one.size <= 0.4
    assert 24 <= one.hours <= 96
    first = onsets(farm, "icing", 5, np.random.default_rng(1))
    assert first == onsets(farm, "icing", 5, np.random.default_rng(1))
    assert all(farm.temperature[:, step].min() < 1 for step in first)
    assert all(75 * 144 <= step < len(farm) - 30 * 144 for step in first)
