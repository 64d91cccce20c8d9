"""Turbines are compared with their neighbors, and alarms begin where they should."""

from dataclasses import replace

import numpy as np
import pytest

from deepseek_learn.solutions.wind.monitor import (
    BLOCK,
    MEMORY,
    AlarmDetector,
    Yield,
    alarms,
    comparable,
    deviations,
    folds,
    spans,
    stuck,
)

from .conftest import RATED, curve


@pytest.fixture(scope="module")
def expected(farm):
    return curve(farm.wind)


@pytest.fixture(scope="module")
def energy(farm, expected):
    return Yield.of(farm, expected)


def test_blocks_hold_the_energy_of_six_hours(farm, energy, expected):
    use = comparable(farm, expected)
    k = 17
    steps = slice(k * BLOCK, (k + 1) * BLOCK)
    hours = (farm.power[2, steps] * use[2, steps]).sum() / RATED / 6
    assert energy.given[2, k] == pytest.approx(hours)
    assert len(energy) == len(farm) // BLOCK


def test_what_all_turbines_share_cancels(farm, expected, energy):
    half = Yield(energy.given * 0.7, energy.expected)
    for window in (12, 28):
        usual, changed = deviations(energy, window)[0], deviations(half, window)[0]
        np.testing.assert_allclose(changed, usual, atol=1e-9)
        usable = usual[np.isfinite(usual)]
        assert len(usable) > 500
        assert usable.std() < 0.025  # although all change by 5 % over the weeks


def test_a_loss_of_one_turbine_is_its_deviation(energy):
    given = energy.given.copy()
    given[1, 400:] *= 0.9
    d, _ = deviations(Yield(given, energy.expected), 28)
    before, _ = deviations(energy, 28)
    change = d - before
    assert change[1, 427] == pytest.approx(np.log(0.9))  # the first full window
    assert np.abs(change[[0, 2, 3], 427]).max() < 0.02


def test_a_window_needs_wind_and_a_past(energy):
    d, load = deviations(energy, 28)
    assert np.isnan(d[:, : MEMORY + 27]).all()
    calm = energy.expected.copy()
    calm[0, 450:] = 1e-4
    d, load = deviations(Yield(energy.given, calm), 28)
    assert np.isnan(d[0, 480:]).all()
    assert load[0, 490] < 0.01


def test_an_alarm_is_raised_for_the_faulty_turbine_only(energy):
    detector = AlarmDetector.fit(energy.part(0, 450))
    given = energy.given.copy()
    given[2, 500:] *= 0.85
    quiet = detector.active(energy)[:, 450:]
    assert [len(alarms(row)) for row in quiet] == [0, 0, 0, 0]
    active = detector.active(Yield(given, energy.expected))
    assert [len(alarms(row[450:])) for row in active] == [0, 0, 1, 0]
    assert 500 <= alarms(active[2])[-1] < 520


def test_active_blocks_of_a_week_are_one_alarm():
    active = np.zeros(200, bool)
    active[[10, 11, 30, 58, 90]] = True
    assert alarms(active) == [10, 90]
    assert alarms(np.zeros(5, bool)) == []


def test_a_stuck_sensor_is_left_out(farm, expected):
    wind = np.array([[6.01, 6, 6, 6, 6, 6, 6, 7, 7.0], [1, 1, 1, 1, 1, 1, 1, 1, 1.0]])
    np.testing.assert_array_equal(stuck(wind)[0], [0, 1, 1, 1, 1, 1, 1, 0, 0])
    assert not stuck(wind)[1].any()  # calm
    still = farm.wind.copy()
    still[0, 100:200] = 9.0
    use = comparable(replace(farm, wind=still), expected)
    assert not use[0, 100:200].any()


def test_a_standstill_is_left_out(farm, expected):
    power = farm.power.copy()
    power[3, 1000:2000] = -5.0
    use = comparable(replace(farm, power=power), expected)
    assert not use[3, 1000:2000].any()
    assert use[:3, 1000:2000].any()


def test_folds_are_runs_of_fifteen_days(farm):
    fold = folds(farm.time, farm.time[0])
    assert (fold[: 15 * 144] == 0).all()
    assert (fold[15 * 144 : 30 * 144] == 1).all()
    assert set(fold) == {0, 1, 2, 3}


def test_the_turbine_that_is_off_is_no_neighbor(energy):
    """Two turbines lose so much that the median of three neighbors is wrong."""
    detector = AlarmDetector.fit(energy.part(0, 450))
    given = energy.given.copy()
    given[0, 500:] *= 0.7
    given[1, 500:] *= 0.75
    active = detector.active(Yield(given, energy.expected))
    assert active[:2, 540:560].all()
    assert not active[2:, 500:560].any()


def test_a_neighbor_that_stops_raises_no_alarm(energy):
    """Turbines that drifted apart over the months are compared with themselves."""
    detector = AlarmDetector.fit(energy.part(0, 450))
    drift = np.array([1.06, 1.06, 0.94, 1.0])[:, None]
    given, expected = energy.given * drift, energy.expected.copy()
    given[1, 500:540] = expected[1, 500:540] = 0
    assert not detector.active(Yield(given, expected))[:, 450:].any()


def test_an_alarm_is_cut_where_the_score_changes_its_sign():
    active = np.zeros(60, bool)
    active[[3, 4, 20, 21, 50]] = True
    score = np.where(np.arange(60) < 20, -2.0, 1.5)
    assert spans(active, score) == [(3, 20), (20, 22), (50, 51)]
    assert spans(np.zeros(5, bool), np.zeros(5)) == []


def test_a_coarse_sensor_is_not_taken_for_a_stuck_one(farm):
    whole = np.round(farm.wind)
    assert stuck(whole).mean() < 0.02
    assert stuck(farm.wind).mean() < 0.001
