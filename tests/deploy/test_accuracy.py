"""The guard keeps the few harmful layers in float and refuses a loss of a point."""

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.deploy import AccuracyError, Quantizer, guard, to_onnx
from deepseek_learn.deploy.accuracy import LIMIT, most_sensitive, points


class Hurt(nn.Module):
    """Linear layers; one input channel of those in `hurt` is 300 times too large."""

    def __init__(self, depth: int, hurt: set[int]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))
        self.hurt = hurt
        with torch.no_grad():
            for layer in self.layers:
                nn.init.orthogonal_(layer.weight)

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            if number in self.hurt:
                large = torch.ones(16).index_fill(0, torch.tensor(3), 300.0)
                x = nn.functional.linear(x * large, layer.weight / large, layer.bias)
            else:
                x = layer(x)
        return x


def guarded(depth: int, hurt: set[int], **options):
    torch.manual_seed(0)
    model, x = Hurt(depth, hurt).eval(), torch.randn(1024, 16)
    with torch.no_grad():
        best = model(x).topk(2).values
        x = x[(best[:, 0] - best[:, 1]).topk(256).indices]  # no near ties
        truth = model(x).argmax(1)

    def metric(predict):
        return 100 * (predict(x).argmax(1) == truth).float().mean().item()

    return guard(Quantizer(to_onnx(model, x), [x]), metric, **options), metric


def test_where_nothing_is_lost_nothing_is_spared():
    result, _ = guarded(2, set(), aim=0.9)
    assert result.in_float == ()
    assert result.errors == {}
    assert list(result.attempts.index) == [0]
    assert result.loss <= 0.9
    assert set(result.to_frame()["kept_as"]) == {"int8"}


def test_the_layer_that_hurts_is_spared_and_no_other():
    result, metric = guarded(6, {2})
    assert len(result.in_float) == 1
    assert result.errors[result.in_float[0]] == max(result.errors.values())
    assert result.attempts["loss"][0] > LIMIT
    assert result.loss <= 0.9
    assert points(metric, result.proto) == result.metric
    frame = result.to_frame()
    assert list(frame.index) == list(result.layers)
    assert frame["kept_as"].eq("float").sum() == 1
    assert result.in_float[0] in result.why()
    assert f"{result.attempts['loss'][0]:.2f}" in result.why()
    heat, spared = result.plot().data
    assert np.allclose(heat.z[0], np.log10(frame["error"]))
    assert list(spared.x) == list(result.in_float)


def test_a_model_that_loses_a_point_is_refused_with_the_table():
    with pytest.raises(AccuracyError, match="or more is rejected") as error:
        guarded(4, {0, 1, 2, 3})
    result = error.value.guard
    assert result.loss >= LIMIT
    assert set(result.attempts.index) <= {0, 1, 2}  # at most half in float
    assert result.attempts.to_string() in str(error.value)


class Fake:
    """A quantizer of ten layers whose model is the list of layers in float."""

    layers = tuple("abcdefghij")
    proto = frozenset(layers)

    samples = None

    def errors(self, inputs, samples, progress):
        self.samples = samples
        return {layer: 1 / (1 + at) for at, layer in enumerate(self.layers)}

    def int8(self, in_float=()):
        return frozenset(in_float)


def fake_run(proto, threads):
    return lambda x: [np.full(1, len(proto), np.float32)]


@pytest.mark.parametrize("needed", range(1, 6))
def test_as_few_as_reach_the_aim(needed):
    def metric(predict):
        return 90.0 if predict(None).item() >= needed else 85.0

    result = guard(Fake(), metric, run=fake_run)
    assert result.in_float == Fake.layers[:needed]
    names = ", ".join(Fake.layers[: min(needed, 3)]) + (", ..." if needed > 3 else "")
    assert f"stay in float: {names}." in result.why()
    assert result.loss == 0
    assert len(result.attempts) <= 6
    assert result.attempts.index.is_monotonic_increasing


def test_sensitivity_takes_as_many_inputs_as_asked():
    for options, samples in (({}, 16), ({"samples": 4}, 4)):
        fake = Fake()
        guard(fake, lambda p: 90.0 if p(None).item() else 85.0, run=fake_run, **options)
        assert fake.samples == samples


def test_the_best_attempt_where_the_aim_is_out_of_reach():
    def metric(predict):
        return {10: 90.0, 4: 89.5}.get(predict(None).item(), 89.4)

    result = guard(Fake(), metric, run=fake_run)
    assert len(result.in_float) == 4
    assert result.loss == pytest.approx(0.5)
    assert "The loss was to be at most 0.1" in result.why()


@pytest.mark.parametrize("lost", [LIMIT, LIMIT - 2**-20])
def test_a_whole_point_is_too_much_and_a_little_less_is_not(lost):
    """90 - 89 is exactly 1: the limit itself is refused."""

    def metric(predict):
        return 90.0 if predict(None).item() == len(Fake.layers) else 90.0 - lost

    if lost < LIMIT:
        assert guard(Fake(), metric, run=fake_run).loss == lost
        return
    with pytest.raises(AccuracyError) as error:
        guard(Fake(), metric, run=fake_run)
    assert error.value.guard.loss == LIMIT


@pytest.mark.parametrize("lost", [0.0, 0.5])
def test_a_loss_of_just_the_aim_reaches_it(lost):
    def metric(predict):
        return {10: 90.0, 0: 85.0}.get(predict(None).item(), 90.0 - lost)

    result = guard(Fake(), metric, aim=lost, run=fake_run)
    assert (len(result.in_float), result.loss) == (1, lost)
    everything = guard(Fake(), lambda p: min(90.0, 90.0 - lost), aim=lost, run=fake_run)
    assert everything.in_float == ()  # and no layer was tried for it
    assert list(everything.attempts.index) == [0]
    assert "was to be at most" not in result.why()


@pytest.mark.parametrize(
    ("metric", "options", "said"),
    [
        (
            lambda predict: 0.97,
            {},
            r"points out of 100 \(87.5, not 0.875\); the float model got 0.97",
        ),
        (lambda predict: 150.0, {}, "points out of 100 .*; the float model got 150"),
        (lambda predict: float("nan"), {}, "finite number of points; got nan"),
        (lambda predict: float("inf"), {}, "finite number of points; got inf"),
        (lambda predict: None, {}, "finite number of points; got None"),
        (lambda predict: "high", {}, "finite number of points; got 'high'"),
        (lambda predict: torch.ones(2), {}, r"number of points; got tensor\(\[1"),
        (lambda predict: 90.0, {"aim": 1.0}, "at least 0 and below 1 point; got 1"),
        (lambda predict: 90.0, {"aim": -0.1}, "below 1 point; got -0.1"),
    ],
)
def test_what_is_no_metric_and_no_aim(metric, options, said):
    with pytest.raises(ValueError, match=said):
        guard(Fake(), metric, run=fake_run, **options)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_metric_that_fails_for_the_quantized_model(value):
    def metric(predict):
        return 90.0 if predict(None).item() == len(Fake.layers) else value

    with pytest.raises(ValueError, match=f"finite number of points; got {value}"):
        guard(Fake(), metric, run=fake_run)


def test_an_error_of_the_metric_itself_is_passed_on():
    def metric(predict):
        raise TypeError("of the metric")

    with pytest.raises(TypeError, match="of the metric"):
        guard(Fake(), metric, run=fake_run)


def test_a_hundred_points_are_points():
    assert guard(Fake(), lambda predict: 100.0, run=fake_run).metric == 100


def test_most_sensitive_first():
    assert most_sensitive({"a": 1.0, "b": 3.0, "c": 2.0}, 2) == ["b", "c"]
