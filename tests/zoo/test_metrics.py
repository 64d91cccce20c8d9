"""The metrics of a card, against their definitions and a peer's bootstrap."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

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
