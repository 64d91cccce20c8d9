"""The metrics of a card, against their definitions and a peer's bootstrap."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from deepseek_learn.zoo import metrics


def masks(count=60):
    """Logits and masks that agree on most pixels; images differ in how many."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(count, 12, 12, generator=generator) < 0.4).long()
    rate = 0.4 * torch.rand(count, 1, 1, generator=generator)
    wrong = torch.rand(count, 12, 12, generator=generator) < rate
    predicted = torch.where(wrong, 1 - labels, labels).float()
    return torch.stack([-predicted, predicted - 0.5], 1), labels


def test_the_overlap_counts_pixels_of_all_images():
    logits, labels = masks()
    result = metrics.overlap_metrics(logits, labels)["iou"]
    hits = ((logits[:, 1] > logits[:, 0]) & (labels == 1)).sum().item()
    union = ((logits[:, 1] > logits[:, 0]) | (labels == 1)).sum().item()
    assert result["value"] == pytest.approx(hits / union, abs=5e-5)  # rounded
    assert result["value"] == pytest.approx(metrics.iou(logits, labels), abs=5e-5)
    assert result["n"] == len(labels)
    assert result == metrics.overlap_metrics(logits, labels, resamples=1000)["iou"]


def test_its_interval_is_that_of_scipy():
    logits, labels = masks()
    predicted, target = logits[:, 1] > logits[:, 0], labels == 1
    counts = [(predicted & target).sum((1, 2)), (predicted | target).sum((1, 2))]
    peer = bootstrap(
        [each.numpy() for each in counts],
        lambda hits, union: hits.sum() / union.sum(),
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    result = metrics.overlap_metrics(logits, labels)["iou"]
    width = peer.high - peer.low
    assert result["low"] == pytest.approx(peer.low, abs=0.15 * width)
    assert result["high"] == pytest.approx(peer.high, abs=0.15 * width)


@pytest.mark.parametrize("levels", [3, 1000])  # with and without many ties
def test_the_area_under_the_roc_is_that_of_scikit_learn(levels):
    rng = np.random.default_rng(0)
    score, positive = rng.integers(levels, size=200) / 7, rng.random(200) < 0.3
    area = metrics.area_under_roc(score, positive)
    assert area == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert np.isnan(metrics.area_under_roc(score, np.ones(200, bool)))
