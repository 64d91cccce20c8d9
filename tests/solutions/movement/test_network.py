"""The statistics of a window, the network, and its training windows."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from deepseek_learn import zoo
from deepseek_learn.solutions.movement import train
from deepseek_learn.solutions.movement.hapt import Recording, movements
from deepseek_learn.solutions.movement.train import (
    Draws,
    activity_accuracy,
    augment,
    macro_f1,
    macro_f1_of,
    rotations,
)
from deepseek_learn.zoo.nets.movement_net import PAIRS, MovementNet, WindowStatistics


@pytest.fixture(scope="module")
def windows():
    return movements().test.inputs[:40]


def test_statistics_agree_with_numpy(windows):
    got = WindowStatistics()(windows).double().numpy()
    x = windows.double().numpy()
    assert got.shape == (40, WindowStatistics.size)
    np.testing.assert_allclose(got[:, :6], x.mean(2), atol=1e-6)
    length = np.sqrt((x[:, :3] ** 2).sum(1) + 1e-8)
    np.testing.assert_allclose(got[:, 6], length.mean(1), atol=1e-6)
    y = (x[:, 1] - x[:, 1].mean(1, keepdims=True)) * np.hanning(128)
    power = np.abs(np.fft.rfft(y, axis=1)) ** 2
    limits = (1, 2, 3, 4, 6, 8, 12, 16, 24, 40, 64)
    bands = [power[:, a:b].sum(1) for a, b in pairwise(limits)]
    names = np.log(np.stack(bands, 1) + 1e-3)
    start = got.shape[1] - len(PAIRS) - 8 * 10 + 10  # the second channel's bands
    np.testing.assert_allclose(got[:, start : start + 10], names, atol=2e-3)
    pair = [np.corrcoef(row[1], row[0])[0, 1] for row in x]
    busy = x[:, :2].std(2).min(1) > 0.1
    np.testing.assert_allclose(got[busy, -15], np.array(pair)[busy], atol=0.02)


def test_the_network_is_small_and_learns_inside_inference_mode_first(windows):
    model = MovementNet()
    assert sum(p.numel() for p in model.parameters()) == 38_850
    with torch.inference_mode():
        model.eval()(windows)
    model.train()(windows).sum().backward()  # the tables hold no inference tensors
    assert all(p.grad is not None for p in model.parameters())
    assert not any("cos" in name for name in model.state_dict())


def test_rotations_turn_by_the_angle_and_keep_lengths():
    turn = rotations(np.array([0.0, 30.0, -90.0]), np.random.default_rng(0))
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.eye(3)[None].repeat(3, 0),
                               atol=1e-6)  # fmt: skip
    angles = np.degrees(np.arccos((np.trace(turn, axis1=1, axis2=2) - 1) / 2))
    np.testing.assert_allclose(angles, [0, 30, 90], atol=0.1)
    assert (np.linalg.det(turn) > 0).all()


def test_augmentation_turns_both_sensors_alike():
    x = torch.zeros(4, 6, 128)
    x[:, 2] = x[:, 5] = 1.0
    y = augment(x, np.random.default_rng(0))
    assert not torch.equal(x, y)
    down, axis = (y[:, part].mean(2) for part in (slice(0, 3), slice(3, 6)))
    # gains of at most 10 % aside, both vectors point the same way
    cosine = torch.cosine_similarity(down, axis)
    assert (cosine > 0.97).all()


def test_drawn_windows_hold_at_least_half_of_their_movement():
    label = np.repeat([-1, 0, 7, 3, -1], [40, 400, 90, 300, 100])
    signal = np.tile(np.arange(len(label), dtype=np.float32), (6, 1))
    draws = Draws([Recording(1, signal, label), Recording(2, signal, label)], {1})
    assert len(draws.runs) == 3
    x, y = draws.batch(3000, np.random.default_rng(0))
    starts = x[:, 0, 0].numpy().astype(int)
    for start, own in zip(starts, y.numpy(), strict=True):
        inside = (label[start : start + 128] == own).sum()
        assert inside >= min(64, (label == own).sum())
    assert len(set(starts[y == 3] % 64)) > 30
    share = y.bincount(minlength=12)[[0, 3, 7]] / 3000
    want = np.sqrt([336, 236, 26]) / np.sqrt([336, 236, 26]).sum()
    np.testing.assert_allclose(share.numpy(), want, atol=0.05)
    with pytest.raises(ValueError, match="people must have recordings; got \\[4\\]"):
        Draws([Recording(1, signal, label)], [4])


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 12, generator=rng), torch.arange(500) % 11
    want = f1_score(labels, logits.argmax(1), average="macro", labels=range(11))
    assert macro_f1(logits, labels) == pytest.approx(want)
    assert macro_f1_of(labels.numpy(), labels.numpy()) == 1
    logits[:, 6:] += 100  # a transition wins, but activities are compared alone
    basic = labels < 6
    want = (logits[basic, :6].argmax(1) == labels[basic]).double().mean()
    assert activity_accuracy(logits, labels) == pytest.approx(float(want))


@pytest.mark.parametrize("name", ["movement_reader", "movement_reader_dpg"])
def test_the_zoo_model_measures_what_its_card_says(name):
    value = zoo.card(name).metrics()["value"]
    got = train.measure(zoo.load(name))["all"]
    for key in ("accuracy", "macro_f1"):
        assert got[key]["value"] == pytest.approx(value[key], abs=4e-3)
        assert got[key]["low"] < got[key]["value"] < got[key]["high"]


def test_a_few_steps_learn_something():
    people = [1, 2, 3, 4]
    torch.manual_seed(0)
    model = train.learn(MovementNet(), people, steps=60)
    test = movements().test
    with torch.inference_mode():
        assert activity_accuracy(model(test.inputs), test.labels) > 0.6
