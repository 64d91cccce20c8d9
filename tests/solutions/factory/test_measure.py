"""The metrics: small cases by hand, and the definition at every threshold."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from deepseek_learn.solutions.factory.measure import aupro, detection


def by_definition(maps, masks, limit):
    """PRO and FPR at every threshold, one after the other."""
    regions = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    good = sum((~mask).sum() for mask in masks)
    curve = [(0.0, 0.0)]
    for t in sorted({v for each in maps for v in each.ravel()}, reverse=True):
        false = sum(((m >= t) & ~k).sum() for m, k in zip(maps, masks, strict=True))
        overlaps = [
            (m[r == i] >= t).mean()
            for m, r in zip(maps, regions, strict=True)
            for i in range(1, r.max() + 1)
        ]
        curve.append((false / good, float(np.mean(overlaps))))
    x, y = map(np.array, zip(*curve, strict=True))
    fine = np.union1d(np.linspace(0, limit, 20_001), x[x <= limit])
    return auc(fine, np.interp(fine, x, y)) / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [7, 10_000])
def test_aupro_is_the_definition_also_with_ties(limit, levels):
    rng = np.random.default_rng(levels)
    masks = [np.zeros((16, 16), bool) for _ in range(3)]
    masks[1][2:4, 2:4] = masks[1][8:14, 5:9] = masks[2][0, :5] = True
    maps = [
        (rng.random((16, 16)) + mask).round(4) * levels // 1 / levels for mask in masks
    ]
    assert aupro(maps, masks, limit) == pytest.approx(
        by_definition(maps, masks, limit), abs=2e-3
    )


def test_a_perfect_map_has_one_and_an_inverted_one_has_nothing():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 3:6] = True
    maps = [mask.astype(float), np.zeros((8, 8))]
    masks = [mask, np.zeros((8, 8), bool)]
    perfect = detection(np.array([1.0, 0.0]), maps, masks)
    assert (perfect.image_auroc, perfect.pixel_ap) == (1, 1)
    assert perfect.aupro == pytest.approx(1)
    assert (perfect.images, perfect.defects) == (2, 1)
    inverted = detection(np.array([0.0, 1.0]), [-each for each in maps], masks)
    assert (inverted.image_auroc, inverted.aupro) == (0, 0)


def test_a_small_defect_counts_as_much_as_a_large_one():
    mask = np.zeros((20, 20), bool)
    mask[1, 1] = mask[5:15, 5:15] = True
    large = mask.copy()
    large[1, 1] = False
    assert aupro([large.astype(float)], [mask], 0.05) == pytest.approx(0.5, abs=0.03)


def test_image_and_pixel_figures_are_scikit_learns():
    rng = np.random.default_rng(1)
    masks = [rng.random((6, 6)) < part for part in (0.0, 0.2, 0.3)]
    maps = [rng.random((6, 6)) for _ in masks]
    scores = rng.random(3)
    result = detection(scores, maps, masks)
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([each.ravel() for each in maps])
    assert result.pixel_ap == pytest.approx(average_precision_score(truth, values))
    assert result.pixel_auroc == pytest.approx(roc_auc_score(truth, values))
    assert result.image_auroc == pytest.approx(roc_auc_score([0, 1, 1], scores))


GOOD, BAD = np.zeros((4, 4), bool), np.eye(4, dtype=bool)


@pytest.mark.parametrize(
    ("scores", "maps", "masks", "message"),
    [
        ([0.0], [GOOD * 1.0], [GOOD, BAD], "one entry per image; got 1, 1 and 2"),
        (
            [0.0, 1.0],
            [np.zeros((3, 3)), BAD * 1.0],
            [GOOD, BAD],
            r"maps\[0\] must have",
        ),
        ([0.0, 1.0], [GOOD * 1.0, BAD * np.nan], [GOOD, BAD], r"maps\[1\] .* NaN"),
        (
            [np.inf, 1.0],
            [GOOD * 1.0, BAD * 1.0],
            [GOOD, BAD],
            r"maps\[0\] or its score",
        ),
        ([0.0, 1.0], [GOOD * 1.0] * 2, [GOOD, GOOD], "good images and images with a"),
    ],
)
def test_what_does_not_fit_is_one_sentence(scores, maps, masks, message):
    with pytest.raises(ValueError, match=message):
        detection(np.array(scores), maps, masks)
