"""Streams of windows, and new wearers."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from deepseek_learn import zoo
from deepseek_learn.solutions.movement.adapt import Wearer, example_windows
from deepseek_learn.solutions.movement.decode import (
    COUNT,
    ViterbiDecoder,
    window_labels,
    windows,
)
from deepseek_learn.solutions.movement.hapt import Recording, movements


def brute(logits, transitions, t, last):
    """The most probable state of window t given the windows up to `last`, by listing."""
    likelihood, chance = np.exp(logits), np.zeros(COUNT)
    for path in product(range(COUNT), repeat=last + 1):
        p = np.prod([likelihood[i, s] for i, s in enumerate(path)])
        for a, b in pairwise(path):
            p *= transitions[a, b]
        chance[path[t]] += p
    return int(chance.argmax())


@pytest.mark.parametrize("delay", [0, 1, None])
def test_decoding_is_exact(delay):
    rng = np.random.default_rng(1)
    decoder = ViterbiDecoder(rng.dirichlet(np.ones(COUNT), COUNT))
    logits = rng.normal(0, 1.5, (4, COUNT))
    want = [
        brute(logits, decoder.transitions, t, 3 if delay is None else min(3, t + delay))
        for t in range(4)
    ]
    assert decoder.decode(logits, delay).tolist() == want


def test_a_delay_beyond_the_end_is_offline():
    logits = np.random.default_rng(0).normal(size=(50, COUNT))
    decoder = ViterbiDecoder.sticky()
    whole = decoder.decode(logits)
    assert (decoder.decode(logits, 60) == whole).all()
    assert (decoder.decode(logits, 0) != whole).any()
    long = np.random.default_rng(0).normal(size=(5000, COUNT))
    assert np.bincount(decoder.decode(50 * long), minlength=COUNT).max() < 4000


def test_a_sticky_decoder_removes_flicker():
    logits = np.zeros((30, COUNT))
    logits[:, 3], logits[12, 4], logits[20:, 4] = 1.0, 2.0, 5.0
    states = ViterbiDecoder.sticky(0.95).decode(logits)
    assert set(states[:20]) == {3}
    assert set(states[20:]) == {4}


def test_transitions_are_counted_between_labeled_windows():
    label = np.repeat([0, -1, 3, 9], [256, 128, 256, 192])
    recording = Recording(1, np.zeros((6, len(label)), np.float32), label)
    own = window_labels(label)
    assert own.tolist() == [0, 0, 0, -1, -1, -1, 3, 3, 3, 3, 9, 9]
    matrix = ViterbiDecoder.learned([recording]).transitions
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert matrix[0].argmax() == 0
    assert matrix[0, 3] == pytest.approx(1 / 3, abs=0.01)
    assert matrix[3, 9] > 0.2
    assert matrix[0, 9] < 0.01


def test_windows_of_a_stream_overlap_by_half():
    signal = np.tile(np.arange(400, dtype=np.float32), (6, 1))
    cut = windows(signal)
    assert cut.shape == (5, 6, 128)
    assert cut[:, 0, 0].tolist() == [0, 64, 128, 192, 256]


@pytest.fixture(scope="module")
def reader():
    return zoo.load("movement_reader")


def stranger(reader, person):
    own = movements().whole()
    own = own.subset((own.groups == person) & (own.labels.numpy() < 6))
    return own.inputs, own.labels


def test_a_good_reader_is_left_alone(reader):
    x, y = stranger(reader, 1)
    wearer = Wearer.of(reader, x, y)
    assert wearer.accuracy > 0.97
    assert wearer.prototypes is None
    with torch.inference_mode():
        assert torch.equal(wearer.logits(reader, x), reader(x))


def test_examples_help_a_wearer_who_is_misread(reader):
    x, y = stranger(reader, 10)
    example = torch.arange(len(x)) % 4 == 0
    wearer = Wearer.of(reader, x[example], y[example])
    with torch.inference_mode():
        before = (reader(x[~example])[:, :6].argmax(1) == y[~example]).float().mean()
    after = wearer.logits(reader, x[~example])[:, :6].argmax(1) == y[~example]
    assert before < 0.95
    assert after.float().mean() > before + 0.02
    with pytest.raises(
        ValueError, match="must contain all six activities; sitting miss"
    ):
        Wearer.of(reader, x[y != 3], y[y != 3])


def test_examples_are_the_first_ten_seconds():
    signal = np.tile(np.arange(2000, dtype=np.float32), (6, 1))
    cut = example_windows(signal, 100, 1500)
    assert cut[0, 0, 0] == 100
    assert cut[-1, 0, -1] <= 599
    assert len(cut) == 12
