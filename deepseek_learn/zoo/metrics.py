"""Classification metrics with confidence intervals, computed from logits and labels."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def auroc(logits: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve, or NaN if a class is absent.

    This is the probability that a random sample of class 1 (defective) scores higher
    than a random sample of class 0 (Mann-Whitney). Ties count as one half.

    Args:
        logits: a float tensor of shape `[N, 2]`.
        labels: a tensor of shape `[N]` with the classes 0 and 1.
    """
    score = (logits[:, 1] - logits[:, 0]).double().numpy()
    return _auroc(score, labels.numpy().astype(bool))


def _auroc(score: np.ndarray, positive: np.ndarray) -> float:
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = (last - (counts - 1) / 2)[inverse]  # mean rank of equal scores
    n, m = positive.sum(), (~positive).sum()
    if n == 0 or m == 0:
        return float("nan")
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def iou(logits: Tensor, labels: Tensor) -> float:
    """Return the intersection over union of class 1, pooled over all pixels.

    Args:
        logits: a float tensor of shape `[N, 2, H, W]`. A pixel is assigned to class 1
            if its second logit is larger.
        labels: masks of shape `[N, H, W]` with the values 0 and 1.

    Returns:
        A value from 0 to 1, or NaN if class 1 is neither present nor predicted.
    """
    predicted, target = logits[:, 1] > logits[:, 0], labels == 1
    union = (predicted | target).sum().item()
    return (predicted & target).sum().item() / union if union else float("nan")


def overlap_metrics(logits: Tensor, labels: Tensor, resamples: int = 1000) -> dict:
    """Compute the `iou` and a 95% bootstrap interval that resamples whole images.

    Args:
        logits: a float tensor of shape `[N, 2, H, W]`.
        labels: masks of shape `[N, H, W]` with the values 0 and 1.

    Returns:
        `{"iou": {"value", "low", "high", "n"}}`, with values from 0 to 1.
    """
    predicted, target = logits[:, 1] > logits[:, 0], labels == 1  # [N, H, W]
    overlap = (predicted & target).flatten(1).sum(1).numpy()  # [N]
    union = (predicted | target).flatten(1).sum(1).numpy()  # [N]
    classes = np.zeros(len(overlap), dtype=int)  # one stratum
    draws = [
        [overlap[i].sum() / union[i].sum()] for i in _resampled(classes, resamples)
    ]
    return _with_intervals(("iou",), [overlap.sum() / union.sum()], draws, len(overlap))


def f1(predicted: np.ndarray, positive: np.ndarray) -> float:
    hits = (predicted & positive).sum()
    return float(2 * hits / max(predicted.sum() + positive.sum(), 1))


def at_recall(score: np.ndarray, positive: np.ndarray, recall: float) -> tuple:
    """Return the precision and F1 at the highest threshold that reaches `recall`."""
    count = int(np.ceil(recall * positive.sum()))
    threshold = np.sort(score[positive])[::-1][count - 1]
    predicted = score >= threshold
    precision = (predicted & positive).sum() / predicted.sum()
    return float(precision), f1(predicted, positive)


def at_precision(
    score: np.ndarray, positive: np.ndarray, precision: float
) -> tuple[float, float]:
    """Return the highest recall with at least `precision`, and its threshold.

    Samples with `score >= threshold` are called positive. If no threshold reaches the
    precision, the result is `(0.0, inf)`.

    Args:
        score: the scores, of shape `[N]`.
        positive: a Boolean array of shape `[N]`.
        precision: the required fraction of the samples called positive that are
            positive.

    Raises:
        ValueError: if no sample is positive.
    """
    if not positive.any():
        raise ValueError("positive must contain at least one True; got none.")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    hits = np.cumsum(positive[order])
    # a threshold includes all samples with an equal score
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    reached = last[hits[last] >= precision * (last + 1) - 1e-9]
    if not len(reached):
        return 0.0, float("inf")
    best = reached[hits[reached].argmax()]
    return float(hits[best] / positive.sum()), float(ranked[best])


def binary_metrics(logits: Tensor, labels: Tensor, resamples: int = 1000) -> dict:
    """Compute the accuracy, AUROC and F1, and the precision and F1 at 90% recall.

    Each metric has a 95% interval from a percentile bootstrap (seed 0), stratified by
    class.

    Returns:
        A dictionary that maps the name of each metric to
        `{"value", "low", "high", "n"}`.

    Raises:
        ValueError: if a class is absent.
    """
    if len(set(labels.tolist())) != 2:
        raise ValueError(
            f"labels must contain both classes; got {labels.unique().tolist()}."
        )
    score = (logits[:, 1] - logits[:, 0]).double().numpy()
    positive = labels.numpy().astype(bool)

    def all_metrics(index: np.ndarray) -> list[float]:
        s, p = score[index], positive[index]
        precision, f1_at = at_recall(s, p, 0.9)
        return [((s > 0) == p).mean(), _auroc(s, p), f1(s > 0, p), precision, f1_at]

    names = ("accuracy", "auroc", "f1", "precision_at_recall_90", "f1_at_recall_90")
    values = all_metrics(np.arange(len(score)))
    draws = [all_metrics(index) for index in _resampled(positive, resamples)]
    return _with_intervals(names, values, draws, len(score))


def auroc_gain(
    logits: Tensor, peer_logits: Tensor, labels: Tensor, resamples: int = 1000
) -> dict:
    """Compute the improvement in AUROC over a peer on the same samples.

    The 95% interval comes from a paired percentile bootstrap of the difference,
    stratified by class.

    Returns:
        `{"value", "low", "high", "n"}`.
    """
    scores = [(z[:, 1] - z[:, 0]).double().numpy() for z in (logits, peer_logits)]
    positive = labels.numpy().astype(bool)

    def gain(index: np.ndarray) -> list[float]:
        ours, peers = (_auroc(score[index], positive[index]) for score in scores)
        return [ours - peers]

    draws = [gain(index) for index in _resampled(positive, resamples)]
    values = gain(np.arange(len(positive)))
    return _with_intervals(("gain",), values, draws, len(positive))["gain"]


def multiclass_metrics(logits: Tensor, labels: Tensor, resamples: int = 1000) -> dict:
    """Compute the accuracy and its 95% bootstrap interval.

    Returns:
        `{"accuracy": {"value", "low", "high", "n"}}`.
    """
    correct = (logits.argmax(1) == labels).numpy()
    draws = [[correct[index].mean()] for index in _resampled(labels.numpy(), resamples)]
    return _with_intervals(("accuracy",), [correct.mean()], draws, len(correct))


def agreement_metrics(logits: Tensor, reference: Tensor, resamples: int = 1000) -> dict:
    """Compare the predictions of a model and a reference on the same samples.

    `agreement` is the fraction of samples for which both assign the largest logit to
    the same class. `kl` is the mean Kullback-Leibler divergence from the reference, in
    nats. Both have a 95% bootstrap interval.

    Args:
        logits, reference: float tensors of shape `[N, K]`.
    """
    same = (logits.argmax(1) == reference.argmax(1)).numpy()
    kl = divergence(logits, reference).numpy()
    classes = np.zeros(len(same), dtype=int)
    draws = [[same[i].mean(), kl[i].mean()] for i in _resampled(classes, resamples)]
    values = [same.mean(), kl.mean()]
    return _with_intervals(("agreement", "kl"), values, draws, len(same), digits=6)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Compute KL(reference || model) for each row, in nats.

    Args:
        logits, reference: float tensors of shape `[N, K]`.

    Returns:
        A float64 tensor of shape `[N]`.
    """
    p = reference.double().log_softmax(-1)
    return (p.exp() * (p - logits.double().log_softmax(-1))).sum(-1)


def _resampled(classes: np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    """Yield the indices of bootstrap samples that preserve the size of each class."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    for _ in range(resamples):
        yield np.concatenate([rng.choice(group, len(group)) for group in groups])


def _with_intervals(
    names: Sequence[str],
    values: Sequence[float],
    draws: Sequence[Sequence[float]],
    n: int,
    digits: int = 4,
) -> dict:
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    return {
        name: {"value": round(float(v), digits), "low": round(float(a), digits)}
        | {"high": round(float(b), digits), "n": n}
        for name, v, a, b in zip(names, values, low, high, strict=True)
    }


def probability(logits: Tensor) -> Tensor:
    """Return the probability of class 1, as a tensor of shape `[N]`."""
    return torch.softmax(logits.float(), 1)[:, 1]
