"""The wind farm's benchmark: peers at equal false alarms, hits and CARE as rows."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.course import write_result
from deepseek_learn.solutions.wind.monitor import Yield

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("wind", SCRIPTS / "wind_farm.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "wind", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def records(bench):
    """Four turbines with noise; the second one loses 4 % from block 300 on."""
    rng = np.random.default_rng(0)
    residual = rng.normal(0, 0.01, (4, 400))
    residual[1, 300:] -= 0.04
    return bench.Records(Yield(1 + residual, np.ones((4, 400))), residual)


def test_the_peers_find_a_step_and_come_back(bench, records):
    for active, limit in ((bench.peers.cumulative, 0.1), (bench.peers.averaged, 0.02)):
        rows = [active(records, turbine, limit) for turbine in range(4)]
        assert not rows[0].any()
        assert not rows[1][:300].any()
        assert rows[1][330:].all()
    healed = records.residual.copy()
    healed[1, 350:] = 0
    gone = bench.Records(records.energy, healed)
    assert not bench.peers.cumulative(gone, 1, 0.1)[370:].any()
    assert not bench.peers.averaged(gone, 1, 0.02)[370:].any()


def test_limits_are_tuned_to_a_rate_of_alarms(bench, records):
    past = records.part(0, 300)
    limit = bench.peers.tuned(bench.peers.averaged, past, 0.0, 0)
    rows = [bench.peers.averaged(past, turbine, limit) for turbine in range(4)]
    assert not np.any(rows)
    less = [bench.peers.averaged(past, turbine, 0.97 * limit) for turbine in range(4)]
    assert np.any(less)
    one = np.zeros(4 * 365, bool)
    one[[100, 700]] = True
    assert bench.peers.alarm_rate(one) == pytest.approx(2, rel=1e-3)


def test_a_turbine_alone_does_not_see_its_neighbors(bench):
    rng = np.random.default_rng(0)
    given = 1 + rng.normal(0, 0.02, (4, 600))
    given[0, 500:] *= 0.8
    records = bench.Records(Yield(given, np.ones((4, 600))), given - 1)
    alone = bench.peers.alone(records.energy.part(0, 450))
    rows = [alone(records, turbine, 1.0) for turbine in range(4)]
    assert rows[0][520:560].all()
    assert not rows[2].any()
    changed = given.copy()
    changed[0] = 1
    other = bench.Records(Yield(changed, np.ones((4, 600))), changed - 1)
    np.testing.assert_array_equal(rows[2], alone(other, 2, 1.0))


def test_rows_carry_the_targets_and_their_intervals(bench, tmp_path):
    hits = [[[False, True]] * 4] * 15 + [[[False, False]] * 4] * 5  # 75 %
    healthy, found = [[0] * 120, [0] * 120], [[0] * 42 + [1] * 78, [0] * 40 + [1] * 80]
    facts = {
        "false": {"ours": [0.0, 1.0, 2.0, 3.0], "CUSUM": [4.0] * 4},
        "hits": {"yaw 10 degrees": {"ours": hits, "CUSUM": hits}},
        "care": {"ours": [healthy, found] * 4},
    }
    rows = {row.what: row for row in bench.fault_rows(facts)}
    start = "wind farm: "
    assert rows[f"{start}false alarms per turbine-year, ours"].measured == 1.5
    row = rows[f"{start}yaw 10 degrees found within 14 days, ours"]
    assert (row.measured, row.target) == (0.75, 0.5)
    assert 0.5 < row.low < 0.75 < row.high < 1
    assert rows[f"{start}yaw 10 degrees found within 3 days, ours"].target is None
    assert rows[f"{start}yaw 10 degrees found within 14 days, CUSUM"].target is None
    assert rows[f"{start}CARE, ours"].measured > 0.95
    errors = bench.error_row("network with SC-attention", [[2.0, 2.4], [2.2, 2.4]])
    assert (errors.measured, errors.target) == (2.25, 2.40)
    write_result("wind_farm", [*rows.values(), errors], "run", directory=tmp_path)


def test_a_linear_model_learns_what_it_is_shown(bench):
    x = np.random.default_rng(0).normal(size=(3, 6, 500)).astype(np.float32)
    y = (0.5 * x[:, 1] + x[:, 5]).astype(np.float32)
    near = np.ones(y.shape, bool)
    models = bench.models(steps=1)
    assert (models["IEC's curve"](x, y, near, 0)(x) == x[:, 0]).all()
    predicted = models["generalized additive model"](x, y, near, 0)(x)
    assert np.abs(predicted - y).max() < 0.1
