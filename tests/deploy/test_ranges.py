"""Activation ranges against the histogrammed data and brute force."""

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.deploy import Quantizer, Scheme, to_onnx
from deepseek_learn.deploy.quantize import normalized_error
from deepseek_learn.deploy.ranges import (
    BINS,
    PERCENTILE,
    Histogram,
    rounding_error,
    rules,
)
from deepseek_learn.deploy.runtimes import runner
from deepseek_learn.errors import UnknownNameError

RNG = np.random.default_rng(0)
SAMPLES = {
    "uniform": RNG.uniform(-1, 1, 200_000),
    "normal": RNG.normal(size=200_000),
    "laplace": RNG.laplace(size=200_000),
    "after ReLU": np.maximum(RNG.laplace(size=200_000), 0),
    "all negative": -RNG.gamma(2.0, size=200_000),
    "one outlier": np.append(RNG.normal(size=200_000), 60.0),
}
DATA = {name: values.astype("f4") for name, values in SAMPLES.items()}


def counted(values) -> Histogram:
    result = Histogram(float(values.min()), float(values.max()), np.zeros(BINS, int))
    for part in np.array_split(values, 3):
        result.add(part)
    assert result.counts.sum() == len(values)  # none fell outside
    return result


def error(values, reach, symmetric):
    return rounding_error(values.astype("f8"), np.ones(len(values)), reach, symmetric)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_a_range_lies_within_what_was_seen(name, symmetric):
    result = counted(DATA[name])
    assert rules["minmax"](result, symmetric) == (result.low, result.high)
    for rule in ("percentile", "mse"):
        low, high = rules[rule](result, symmetric)
        # 0 is always one of the levels, observed or not
        assert min(result.low, 0) <= low < high <= max(result.high, 0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_no_more_than_its_share_is_outside_the_percentile(name, symmetric):
    values = DATA[name]
    low, high = rules["percentile"](counted(values), symmetric)
    outside = ((values < low) | (values > high)).mean()
    assert outside <= 1 - PERCENTILE / 100
    inner = (high - low) * 2 / BINS  # one bin less on each side would exclude too many
    wide = values.max() - values.min()
    tighter = ((values < low + wide / BINS) | (values > high - wide / BINS)).mean()
    assert tighter > (1 - PERCENTILE / 100) / 2 or inner == 0


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_least_error_is_no_more_than_that_of_everything(name, symmetric):
    """Also on the data, up to the error of a bin (s² / 12 for bin width s)."""
    values = DATA[name]
    result = counted(values)
    mine, whole = (rules[rule](result, symmetric) for rule in ("mse", "minmax"))
    binned = [
        rounding_error(result.centers, result.counts, reach, symmetric)
        for reach in (mine, whole)
    ]
    assert binned[0] <= binned[1]
    width = (result.high - result.low) / BINS
    root = [error(values, reach, symmetric) ** 0.5 for reach in (mine, whole)]
    assert root[0] <= root[1] + 2 * width / 12**0.5


def test_least_error_against_brute_force():
    """A symmetric range has one free number: try them all, in float64."""
    values = DATA["laplace"]
    limits = np.linspace(1, np.abs(values).max(), 300)
    best = min(error(values, (-limit, limit), True) for limit in limits)
    reach = rules["mse"](counted(values), True)
    assert error(values, reach, True) <= 1.05 * best
    assert error(values, rules["minmax"](counted(values), True), True) > 1.1 * best


def test_rounding_error_is_s_squared_over_12():
    values = DATA["uniform"]
    for symmetric, steps in ((False, 255), (True, 254)):
        step = 2 / steps
        result = error(values, (-1.0, 1.0), symmetric)
        assert result == pytest.approx(step**2 / 12, rel=0.02)


class Outliers(nn.Module):
    """Two layers; the second's input is normal, except for one value in 20,000."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        with torch.no_grad():
            nn.init.orthogonal_(self.first.weight)
            self.first.bias.zero_()

    def forward(self, x):
        return self.second(self.first(x))


def outliers():
    torch.manual_seed(0)
    model, x = Outliers().eval(), torch.randn(4_000, 16)
    x[7] = 40 * model.first.weight[3]  # the output's channel 3 is 40 there
    return model, x, to_onnx(model, x[:1])


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(symmetric=True)])
@pytest.mark.parametrize(("rule", "share"), [("percentile", 0.4), ("mse", 0.9)])
def test_one_outlier_costs_all_values_their_steps_only_with_minmax(scheme, rule, share):
    model, x, proto = outliers()
    usual = torch.cat([x[:7], x[8:]])
    with torch.no_grad():
        expected = [[model(usual).numpy()]]
    errors = {
        name: normalized_error(
            [runner(Quantizer(proto, x.split(500), scheme, name).int8())(usual)],
            expected,
        )
        for name in ("minmax", rule)
    }
    # a percentile clips the outlier; the least error also counts the cost of that
    assert errors[rule] < share * errors["minmax"]


def test_unknown_ranges_are_named():
    _, x, proto = outliers()
    with pytest.raises(
        UnknownNameError, match="the known names are: minmax, mse, percentile"
    ):
        Quantizer(proto, [x], ranges="entropy")


class Halves(nn.Module):
    """The input is also an operand; one activation is constant."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 4)

    def forward(self, x):
        return self.line(x) + torch.relu(-x.abs())


@pytest.mark.parametrize("rule", ["percentile", "mse"])
def test_constant_activations_and_inputs(rule):
    model, x = Halves().eval(), torch.randn(64, 4)
    small = Quantizer(to_onnx(model, x), [x], ranges=rule).int8()
    with torch.no_grad():
        expected = [[model(x).numpy()]]
    assert normalized_error([runner(small)(x)], expected) < 1e-2
