"""The zoo's wind_power: its windows, its skill and its metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepseek_learn import zoo
from deepseek_learn.solutions.wind import power, train
from deepseek_learn.solutions.wind.power import MARGIN, WINDOW
from deepseek_learn.solutions.wind.train import STEP, FarmSamples, metrics, skill
from deepseek_learn.training import predict


@pytest.fixture(scope="module")
def farm():
    return train.farm_samples()


def test_windows_cover_each_step_that_counts_once(farm):
    part = farm.windows([3], ~farm.early)
    assert part.inputs.shape[1:] == (6, WINDOW)
    counts = part.labels[:, 0].isfinite()
    assert not counts[:, :MARGIN].any()
    assert not counts[:, -MARGIN:].any()
    steps = np.flatnonzero(~farm.early)
    covered = slice(steps[0] + MARGIN, steps[0] + MARGIN + STEP * len(part))
    assert counts.sum() == farm.near[3, covered].sum()
    assert covered.stop > steps[-1] - WINDOW - STEP
    assert torch.equal(
        part.inputs[1, :, 0], torch.from_numpy(farm.x[3, :, steps[0] + STEP])
    )


def test_the_windows_of_a_long_series_give_the_same_as_power_apply(farm):
    model = zoo.load("wind_power")
    part = farm.windows([0], ~farm.early).subset(range(5))
    answers, _ = predict(model, part)
    first = np.flatnonzero(~farm.early)[0]
    start = first + MARGIN - STEP  # one window earlier, whose left margin is made up
    whole = power.apply(model, farm.x[:1, :, start : start + 7 * WINDOW])[0, STEP:]
    for n, answer in enumerate(answers):
        middle = slice(n * STEP, (n + 1) * STEP)
        np.testing.assert_allclose(answer[MARGIN:-MARGIN], whole[middle], atol=2e-6)


def test_the_unseen_turbine_teaches_nothing(farm):
    scada = train.from_frame(train.wind_farm(), rated_kw=train.RATED_KW)
    spoiled = scada.power.copy()
    spoiled[3] *= 0.5
    again = FarmSamples.of(replace(scada, power=spoiled), 3)
    assert again.others == [0, 1, 2]
    np.testing.assert_array_equal(again.curve.power, farm.curve.power)
    np.testing.assert_array_equal(again.x[:3], farm.x[:3])


def test_skill_is_the_part_of_the_curves_error_that_is_gone():
    truth, curve = torch.zeros(4, 10), torch.full((4, 10), 0.2)
    labels = torch.stack([truth, curve], 1)
    assert skill(curve, labels) == pytest.approx(0)
    assert skill(curve / 2, labels) == pytest.approx(0.5)
    assert skill(2 * curve, labels) == pytest.approx(-1)
    labels[0, :, 5:] = float("nan")
    wild = curve / 2
    wild[0, 5:] = 9.0  # does not count
    assert skill(wild, labels) == pytest.approx(0.5)


def test_metrics_are_errors_in_percent_with_an_interval():
    rng = torch.Generator().manual_seed(0)
    truth = torch.rand(60, 10, generator=rng)
    noise = 0.03 * torch.randn(60, 10, generator=rng)
    labels = torch.stack([truth, truth + 2 * noise], 1)
    result = metrics(truth + noise, labels)
    assert result["rmse"]["value"] == pytest.approx(3, abs=0.2)
    assert result["rmse_of_curve"]["value"] == pytest.approx(6, abs=0.4)
    assert result["skill"]["value"] == pytest.approx(0.5, abs=1e-4)
    for each in result.values():
        assert each["low"] <= each["value"] <= each["high"]
        assert each["n"] == 600
    assert result["rmse"]["low"] < 2.95 < result["rmse"]["high"]


@pytest.mark.parametrize("name", ["wind_power", "wind_power_dpg"])
def test_the_zoo_model_measures_what_its_card_says(farm, name):
    card, model = zoo.card(name), zoo.load(name)
    result = train.score(lambda part: predict(model, part), farm)
    for part, own in result.items():
        values = card.metrics(part=part)["value"]
        assert own["rmse"]["value"] == pytest.approx(values["rmse"], abs=2e-3)
        assert own["rmse_of_curve"]["value"] == pytest.approx(values["rmse_of_curve"])


def test_the_evaluation_keeps_the_years_and_turbines_apart(farm):
    evaluation = train.evaluation()
    assert evaluation.calibration.shape == (64, 6, WINDOW)
    assert set(evaluation.test.groups) == set(evaluation.held_out.groups) == {3}
    assert not torch.equal(evaluation.test.inputs[0], evaluation.held_out.inputs[0])
    assert evaluation.metric(zoo.load("wind_power")) > 5
