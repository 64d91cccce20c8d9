"""The metrics for finding defects, as MVTec and anomalib define them.

A detector gives each image a map of anomaly scores; the image's own score is one number.
Image AUROC asks whether defective images score higher than good ones. Pixel AP and AUPRO
ask whether the map shows *where* the defect is. Pixel AUROC is listed as well, but it
saturates, because almost all pixels are good.
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, roc_auc_score


@dataclass(frozen=True)
class Detection:
    """How well a detector finds defects; every value is between 0 and 1."""

    image_auroc: float
    pixel_ap: float
    aupro: float
    pixel_auroc: float
    images: int
    defects: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def detection(
    scores: np.ndarray,
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    limit: float = 0.05,
) -> Detection:
    """Compute all metrics for the images of a test set.

    Args:
        scores: the image scores, a float array of shape `[N]`; higher is more anomalous.
        maps: the anomaly map of each image, a float array of shape `[H, W]`.
        masks: the true defects of each image, a Boolean array of the map's shape.
        limit: the false-positive rate up to which AUPRO is integrated.

    Raises:
        ValueError: if a map and its mask differ in shape, if a score is not finite, or if
            there is no good or no defective image.
    """
    _check(scores, maps, masks)
    defective = np.array([mask.any() for mask in masks])
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([each.ravel() for each in maps])
    return Detection(
        image_auroc=float(roc_auc_score(defective, scores)),
        pixel_ap=float(average_precision_score(truth, values)),
        aupro=aupro(maps, masks, limit),
        pixel_auroc=float(roc_auc_score(truth, values)),
        images=len(masks),
        defects=sum(ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks),
    )


def aupro(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float = 0.05
) -> float:
    """Return the area under the per-region overlap curve, divided by `limit`.

    For a threshold t, let FPR(t) be the fraction of good pixels above t, and let PRO(t)
    be the mean over all defects of the fraction of their pixels above t, so that a small
    defect counts as much as a large one. Then

        AUPRO = 1 / limit * integral of PRO over FPR from 0 to limit.

    Every distinct score is a threshold, so nothing is approximated. Bergmann et al. 2021,
    "The MVTec Anomaly Detection Dataset", IJCV 129.
    """
    # 1. the weight of each pixel: by how much the curve moves when t falls below its score
    weights, good = [], []
    count = 0
    for mask in masks:
        regions, number = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(regions.ravel(), minlength=number + 1)
        share = 1 / sizes
        share[0] = 0
        weights.append(share[regions].ravel())
        good.append(~mask.ravel())
        count += number
    pro, false = np.concatenate(weights) / count, np.concatenate(good)
    # 2. one step per distinct score, from the highest to the lowest
    values = np.concatenate([each.ravel() for each in maps])
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.append(np.diff(values[order]), -1))
    y = np.append(0, np.cumsum(pro[order])[last])
    x = np.append(0, np.cumsum(false[order])[last] / false.sum())
    # 3. the area up to the limit; the curve is linear between two steps
    at_limit = np.interp(limit, x, y)
    inside = x < limit
    x, y = np.append(x[inside], limit), np.append(y[inside], at_limit)
    return float(auc(x, y) / limit)


def _check(
    scores: np.ndarray, maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> None:
    """Raise a `ValueError` if the arguments of `detection` do not fit together."""
    if not len(scores) == len(maps) == len(masks):
        raise ValueError(
            f"scores, maps and masks must have one entry per image; got {len(scores)}, "
            f"{len(maps)} and {len(masks)}."
        )
    for index, (each, mask) in enumerate(zip(maps, masks, strict=True)):
        if each.shape != mask.shape:
            raise ValueError(
                f"maps[{index}] must have the shape of its mask, {mask.shape}; got "
                f"{each.shape}."
            )
        if not (np.isfinite(each).all() and np.isfinite(scores[index])):
            raise ValueError(f"maps[{index}] or its score contains NaN or infinity.")
    if len({bool(mask.any()) for mask in masks}) < 2:
        raise ValueError("masks must contain good images and images with a defect.")
