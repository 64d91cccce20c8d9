"""Classification metrics with confidence intervals, computed from logits and labels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..measure import Bootstrap, bootstrap


def auroc(logits: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve, or NaN if a class is absent.

    This is the probability that a random sample of class 1 (defective) scores higher
    than a random sample of class 0 (Mann-Whitney). Ties count as one half.

    Args:
        logits: a float tensor of shape `[N, 2]`.
        labels: a tensor of shape `[N]` with the classes 0 and 1.
    """
    return area_under_roc(_margin(logits), labels.numpy().astype(bool))


def area_under_roc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the AUROC of scores of shape `[N]`, or NaN if a class is absent.

    With n positive samples, m negative ones and the mean ranks R of equal scores, it is
    (sum of R over the positive samples - n(n + 1) / 2) / nm. That is scikit-learn's
    `roc_auc_score`, which is too slow for the thousands of samples of a bootstrap.
    """
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = positive.sum(), (~positive).sum()
    if n == 0 or m == 0:
        return float("nan")
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def _margin(logits: Tensor) -> np.ndarray:
    return (logits[:, 1] - logits[:, 0]).double().numpy()


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
    ratio = bootstrap(
        lambda i: overlap[i].sum() / union[i].sum(), len(overlap), repeats=resamples
    )
    return {"iou": ratio.to_dict()}


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
    score, positive = _margin(logits), labels.numpy().astype(bool)
    statistics: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "accuracy": lambda s, p: ((s > 0) == p).mean(),
        "auroc": area_under_roc,
        "f1": lambda s, p: f1(s > 0, p),
        "precision_at_recall_90": lambda s, p: at_recall(s, p, 0.9)[0],
        "f1_at_recall_90": lambda s, p: at_recall(s, p, 0.9)[1],
    }

    def estimate(statistic: Callable[[np.ndarray, np.ndarray], float]) -> Bootstrap:
        return bootstrap(
            lambda i: statistic(score[i], positive[i]),
            len(score),
            strata=positive,
            repeats=resamples,
        )

    return {name: estimate(each).to_dict() for name, each in statistics.items()}


def auroc_gain(
    logits: Tensor, peer_logits: Tensor, labels: Tensor, resamples: int = 1000
) -> dict:
    """Compute the improvement in AUROC over a peer on the same samples.

    The 95% interval comes from a paired percentile bootstrap of the difference,
    stratified by class.

    Returns:
        `{"value", "low", "high", "n"}`.
    """
    ours, peers = _margin(logits), _margin(peer_logits)
    positive = labels.numpy().astype(bool)
    return bootstrap(
        lambda i: (
            area_under_roc(ours[i], positive[i]) - area_under_roc(peers[i], positive[i])
        ),
        len(positive),
        strata=positive,
        repeats=resamples,
    ).to_dict()


def multiclass_metrics(logits: Tensor, labels: Tensor, resamples: int = 1000) -> dict:
    """Compute the accuracy and its 95% bootstrap interval.

    Returns:
        `{"accuracy": {"value", "low", "high", "n"}}`.
    """
    correct = (logits.argmax(1) == labels).numpy()
    accuracy = bootstrap(
        lambda i: correct[i].mean(),
        len(correct),
        strata=labels.numpy(),
        repeats=resamples,
    )
    return {"accuracy": accuracy.to_dict()}


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

    def mean(values: np.ndarray) -> dict[str, float]:
        rows = len(values)
        return bootstrap(lambda i: values[i].mean(), rows, repeats=resamples).to_dict(6)

    return {"agreement": mean(same), "kl": mean(kl)}


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Compute KL(reference || model) for each row, in nats.

    Args:
        logits, reference: float tensors of shape `[N, K]`.

    Returns:
        A float64 tensor of shape `[N]`.
    """
    p = reference.double().log_softmax(-1)
    return (p.exp() * (p - logits.double().log_softmax(-1))).sum(-1)


def probability(logits: Tensor) -> Tensor:
    """Return the probability of class 1, as a tensor of shape `[N]`."""
    return torch.softmax(logits.float(), 1)[:, 1]
