"""Surfaces and defects: reproducible, exact masks, no pixel in training and test."""

import numpy as np
import pytest

from deepseek_learn.errors import UnknownNameError
from deepseek_learn.solutions.factory import synthetic
from deepseek_learn.solutions.factory.surfaces import (
    PHOTOGRAPHS,
    defects,
    parts,
    surfaces,
)
from deepseek_learn.solutions.factory.synthetic import spoil


@pytest.mark.parametrize("name", list(surfaces))
def test_parts_are_images_and_reproducible(name):
    one, again = (parts(name, 2, 3, size=64, seed=5) for _ in range(2))
    assert one.images.shape == one.masks.shape == (5, 64, 64)
    assert one.images.dtype == np.float32
    assert 0 <= one.images.min() <= one.images.max() <= 1
    assert np.array_equal(one.images, again.images)
    assert one.kinds[:2] == ["good", "good"]
    assert not one.masks[:2].any()
    assert one.masks[2:].any((1, 2)).all()
    assert not np.array_equal(one.images, parts(name, 2, 3, size=64, seed=6).images)


@pytest.mark.parametrize("kind", list(defects))
def test_a_defect_changes_its_mask_and_hardly_anything_else(kind):
    rng = np.random.default_rng(3)
    for _ in range(20):
        image = parts("cast", 1, size=128, seed=int(rng.integers(1000))).images[0]
        spoiled, mask = defects[kind](image, rng)
        change = np.abs(spoiled - image)
        assert mask.any()
        assert mask.mean() < 0.2
        assert change[mask].mean() > 5 * change[~mask].mean()


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_training_and_test_are_different_halves_of_a_photograph(name, monkeypatch):
    import skimage.data

    halves = np.zeros((512, 512), np.uint8)
    halves[:, 256:] = 255
    monkeypatch.setattr(skimage.data, name, lambda: halves)
    assert parts(name, 5, size=256).images.max() < 0.2
    assert parts(name, 5, size=256, part="test").images.min() > 0.8


def test_kinds_take_turns():
    kinds = parts("cast", 0, 16, size=64).kinds
    assert sorted(set(kinds)) == list(defects)
    assert all(kinds.count(kind) == 2 for kind in defects)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("velvet", {}, UnknownNameError, "surface 'velvet' is not known"),
        (
            "cast",
            {"part": "both"},
            ValueError,
            'must be "train" or "test"; got \'both\'',
        ),
        ("brick", {"size": 300}, ValueError, "at most 256 for brick; got 300"),
    ],
)
def test_bad_arguments_are_one_sentence(name, options, error, message):
    with pytest.raises(error, match=message):
        parts(name, 1, **options)


def test_synthetic_defects_are_visible_small_and_marked():
    good = parts("brushed", 6, size=128).images
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        image = good[rng.integers(6)]
        spoiled, mask = spoil(image, rng, good)
        assert spoiled.dtype == np.float32
        assert 0 <= spoiled.min() <= spoiled.max() <= 1
        shares.append(mask.mean())
        if mask.any():
            change = np.abs(spoiled - image)
            assert change[mask].mean() > change[~mask].mean()
    assert 0 < np.median(shares) < 0.05
    assert np.mean(np.array(shares) > 0) > 0.8  # some changes are too weak to see


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"good": 0}, "nor both 0; got 0 and 0"),
        ({"good": 2, "defective": -1}, "must not be negative"),
        ({"good": 1, "size": 8}, "size must be at least 32 pixels; got 8"),
    ],
)
def test_numbers_out_of_range_get_a_sentence(numbers, message):
    with pytest.raises(ValueError, match=message):
        parts("cast", **numbers)


class Kind(np.random.Generator):
    """A generator whose first integer is the kind of a filling."""

    def __init__(self, kind: int):
        super().__init__(np.random.PCG64(kind))
        self.kinds = [kind]

    def integers(self, *bounds, **options):
        return self.kinds.pop() if self.kinds else super().integers(*bounds, **options)


def test_each_kind_of_filling_is_what_it_says():
    rng = np.random.default_rng(0)
    image, sources = rng.uniform(0.2, 0.8, (32, 32)), rng.uniform(0, 1, (3, 32, 32))
    level, lit, smooth, piece, noise = (
        synthetic._filling(image, Kind(kind), sources) for kind in range(5)
    )
    assert np.ptp(level) == 0
    assert 0.08 <= abs(lit - image).min() <= abs(lit - image).max() <= 0.4
    assert np.ptp(lit - image) < 1e-12
    assert smooth.std() < 0.8 * image.std()
    assert smooth.mean() == pytest.approx(image.mean(), abs=0.02)
    turned = [np.rot90(each, k) for each in sources for k in (1, 2, 3)]
    ratios = [np.median(piece / each) for each in turned]
    assert any(np.allclose(piece, r * t) for r, t in zip(ratios, turned, strict=True))
    assert noise.mean() == pytest.approx(image.mean(), abs=0.15)
    assert abs(np.corrcoef(noise.ravel(), image.ravel())[0, 1]) < 0.2
