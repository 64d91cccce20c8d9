"""Expected power: IEC's curve, corrected by a network that has not seen the test."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepseek_learn.solutions.wind import power as expected_power
from deepseek_learn.solutions.wind.power import (
    Curve,
    apply,
    farm_median,
    inputs,
    normal_wind,
    train,
)
from deepseek_learn.zoo.nets.power_net import PowerNet

from .conftest import RATED, curve


def test_wind_is_reduced_to_standard_density(farm):
    cold = replace(farm, temperature=np.full_like(farm.wind, -10.0))
    density = 98_000 / (287.05 * 263.15)
    np.testing.assert_allclose(
        normal_wind(cold), farm.wind * (density / 1.225) ** (1 / 3), rtol=1e-9
    )


@pytest.mark.parametrize("turbines", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("least", [1, 2])
def test_the_farms_median_leaves_out_what_is_missing(turbines, least):
    rng = np.random.default_rng(turbines)
    x = rng.normal(size=(turbines, 200))
    x[rng.random(x.shape) < 0.4] = np.nan
    enough = np.isfinite(x).sum(0) >= least
    expected = np.full(200, np.nan)
    expected[enough] = np.nanmedian(x[:, enough], 0)
    np.testing.assert_array_equal(farm_median(x, least), expected)
    assert np.isnan(farm_median(x[:0], least)).all()


def test_without_sensors_the_wind_stays_as_it_is(farm):
    nothing = np.full_like(farm.wind, np.nan)
    bare = replace(farm, temperature=nothing, pressure=nothing)
    np.testing.assert_array_equal(normal_wind(bare), farm.wind)
    warm = replace(farm, pressure=nothing)
    ratio = np.cbrt(288.15 / (farm.temperature + 273.15))
    np.testing.assert_allclose(normal_wind(warm) / farm.wind, ratio, rtol=1e-4)


def test_the_curve_is_the_median_of_each_bin():
    rng = np.random.default_rng(0)
    wind = rng.uniform(0, 20, 50_000)
    power = curve(wind) / RATED + rng.normal(0, 0.02, len(wind))
    power[:5000] = np.nan
    power[5000:6000] = 0.0  # standstills
    fitted = Curve.fit(wind, power)
    at = np.array([5.25, 8.25, 12.25])
    np.testing.assert_allclose(fitted(at), curve(at) / RATED, atol=0.005)
    assert fitted(np.array([19.9]))[0] == pytest.approx(1, abs=0.01)
    assert fitted.near(np.array([8.25]), np.array([curve(8.25) / RATED]))[0]
    assert not fitted.near(np.array([8.25]), np.array([0.1]))[0]


def test_a_curve_needs_records():
    with pytest.raises(ValueError, match="needs a day of records"):
        Curve.fit(np.ones(5), np.ones(5))


def test_the_network_starts_at_the_curve():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 50)
    torch.testing.assert_close(PowerNet()(x), x[:, 0])


def test_windows_are_joined_without_a_seam():
    torch.manual_seed(0)
    network = PowerNet(6, attention=False).eval()
    torch.nn.init.normal_(network.last.weight)
    for module in network.modules():  # whose output depends on the length of a window
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x
    x = np.random.default_rng(0).normal(size=(3, 6, 1000)).astype(np.float32)
    with torch.inference_mode():
        whole = network(torch.from_numpy(x)).numpy()
    joined = apply(network, x)
    assert joined.shape == (3, 1000)
    np.testing.assert_allclose(joined[:, 60:-60], whole[:, 60:-60], atol=1e-4)


def test_training_beats_the_curve_on_days_that_it_has_not_seen(farm):
    seen = np.arange(len(farm)) % 1440 < 1008
    model = train(farm, seen, steps=80)
    errors = []
    for each in (model, replace(model, network=None)):
        off = (each(farm) - farm.power)[:, ~seen]
        errors.append(float(np.sqrt(np.nanmean(off**2))))
    assert errors[0] < 0.97 * errors[1]
    with_gap = farm.wind.copy()
    with_gap[1, 500:510] = np.nan
    power = model(replace(farm, wind=with_gap))
    assert np.isnan(power[1, 500:510]).all()
    assert np.isfinite(power[0]).all()


def test_a_turbine_is_told_by_its_own_channel(farm):
    curves = [
        Curve.fit(w, p / RATED) for w, p in zip(farm.wind, farm.power, strict=True)
    ]
    x = inputs(farm, curves)
    assert x.shape == (4, 10, len(farm))
    np.testing.assert_array_equal(x[:, 6:, 0], np.eye(4))
    assert expected_power.WINDOW > 2 * expected_power.MARGIN
