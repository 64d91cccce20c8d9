"""Who is a patient of which hospital, and files of patients that are not right."""

import numpy as np
import pytest
import torch

from deepseek_learn.solutions.federated import candidates, hospitals, learning
from deepseek_learn.solutions.federated.hospitals import (
    HOSPITALS,
    TRAINING,
    Annotator,
    Patients,
)
from deepseek_learn.solutions.phantoms.nodule_shapes import nodule_shapes
from deepseek_learn.solutions.phantoms.scans import split_shapes

from .cases import patients


def test_no_patient_belongs_to_two_hospitals_or_parts():
    owner = nodule_shapes().table["patient"].to_numpy()
    owners: set[int] = set()
    for hospital in HOSPITALS.values():
        for part in hospitals.PARTS:
            pool = hospitals._pool(hospital, part)
            shapes = np.concatenate([*pool, np.array([], int)]).astype(int)
            assert set(shapes) <= set(
                split_shapes()["train" if part == "train" else "test"]
            )
            own = set(owner[shapes])
            assert not own & owners
            owners |= own


def test_the_stored_crops_are_the_generators():
    stored = hospitals.patients("harbor", "test")
    hospital = HOSPITALS["harbor"]
    rng = np.random.default_rng([hospitals.SEED, hospital.number, len("test"), 3])
    phantom = hospitals.patient_scan(hospital, "test", 3)
    crops, labels, truth = hospitals.patient_crops(phantom, hospital.reader, rng)
    assert np.abs(stored.crops[3].numpy().astype(int) - crops).max() <= 1
    np.testing.assert_array_equal(stored.labels[3], labels)
    np.testing.assert_array_equal(stored.truth[3], truth)


def test_each_hospital_has_its_patients_and_readers_miss_what_they_miss():
    for name, hospital in HOSPITALS.items():
        test = hospitals.patients(name, "test")
        assert len(test) == hospitals.TEST
        assert (test.labels <= test.truth).all()
        if hospital.patients:
            assert len(hospitals.patients(name)) == hospital.patients
    assert hospitals.patients("harbor").labels.sum() < 70
    assert Annotator(6).marks(6.0, 1)
    assert not Annotator(6).marks(5.9, 5)
    assert not Annotator(3, 3).marks(9.0, 2.5)


@pytest.mark.slow
def test_what_all_hospitals_know_holds_elsewhere():
    parts = hospitals.joined(*map(hospitals.patients, TRAINING))
    assert len(parts) == sum(HOSPITALS[name].patients for name in TRAINING)
    torch.manual_seed(0)
    model = candidates.CandidateNet()
    learning.train(model, parts, learning.Local(steps=150, lr=0.2), seed=0)
    new = hospitals.patients("elsewhere", "test")
    assert candidates.auroc(candidates.scores(model, new), new.truth) > 0.8


def test_unknown_hospitals_and_parts_are_named():
    with pytest.raises(ValueError, match="hospital must be one of north"):
        hospitals.patients("south")
    with pytest.raises(ValueError, match="elsewhere may not train"):
        hospitals.patients("elsewhere", "train")


def test_a_file_of_patients_comes_back_as_it_was(tmp_path):
    own = patients(3)
    own.save(tmp_path / "own.npz")
    again = Patients.load(tmp_path / "own.npz")
    assert torch.equal(own.crops, again.crops)
    assert torch.equal(own.labels, again.labels)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": None}, "has no array 'labels'"),
        ({"crops": np.zeros((3, 4, 8, 8, 8), np.uint8)}, "crops in .* must be uint8"),
        ({"crops": np.zeros((3, 4, 16, 16, 16))}, "got float64"),
        ({"truth": np.zeros((3, 5), np.uint8)}, "truth in .* must have shape"),
        ({"labels": np.full((3, 4), 2, np.uint8)}, "must be 0 .no nodule. or 1; got 2"),
    ],
)
def test_a_file_that_is_not_right_says_why(tmp_path, change, reason):
    own = patients(3)
    arrays = {n: getattr(own, n).numpy() for n in hospitals.NAMES} | change
    kept = {name: value for name, value in arrays.items() if value is not None}
    np.savez(tmp_path / "own.npz", **kept)
    with pytest.raises(ValueError, match=reason):
        Patients.load(tmp_path / "own.npz")
