r"""Compare predicted probabilities with observed frequencies, and correct overconfidence.

Among the cells to which a calibrated model gives a probability of 0.2, one in five is
defective. Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599.
Lesson: `notebooks/practical/03_defects_supervised.ipynb`.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import check_count

Values = np.ndarray | Tensor
LOWEST, HIGHEST = 1e-3, 1e3  # the temperatures that are searched


def reliability(probability: Values, labels: Values, bins: int = 10) -> pd.DataFrame:
    """Compare probabilities and frequencies in bins of equal width.

    Args:
        probability: the predicted probability of class 1, of shape `[N]`.
        labels: the classes 0 and 1, of shape `[N]`.
        bins: the number of bins between 0 and 1.

    Returns:
        One row for each bin that is not empty, in order, with the columns `low` and
        `high` (the bounds of the bin), `n`, `probability` (the mean prediction) and
        `fraction` (the fraction of class 1).

    Raises:
        ValueError: if the shapes differ, there are no samples, a probability is not
            between 0 and 1, or a label is neither 0 nor 1.
    """
    check_count("bins", bins)
    p, y = _checked(probability, labels)
    place = np.minimum((p * bins).astype(int), bins - 1)  # 1.0 is in the last bin
    table = pd.DataFrame({"bin": place, "probability": p, "fraction": y})
    rows = table.groupby("bin").agg(
        n=("fraction", "size"),
        probability=("probability", "mean"),
        fraction=("fraction", "mean"),
    )
    rows.insert(0, "low", rows.index / bins)
    rows.insert(1, "high", (rows.index + 1) / bins)
    return rows.reset_index(drop=True)


def calibration_error(probability: Values, labels: Values, bins: int = 10) -> float:
    r"""Return the expected calibration error.

    .. math:: \sum_b \frac{n_b}{N} \left| \bar p_b - \bar y_b \right|

    Chance alone makes it larger than 0: with N samples, even a calibrated model does
    not observe exactly the predicted frequencies. Compare errors only at the same N and
    the same number of bins.

    Args:
        probability, labels, bins: as in `reliability`.
    """
    rows = reliability(probability, labels, bins)
    gap = (rows["probability"] - rows["fraction"]).abs()
    return float((rows["n"] * gap).sum() / rows["n"].sum())


def temperature(logits: Tensor, labels: Tensor) -> float:
    r"""Return the temperature T that minimizes the cross-entropy of `logits / T`.

    A temperature above 1 corrects overconfidence. It does not change which class has
    the largest logit. The cross-entropy is convex in :math:`\beta = 1/T`, so the sign
    of its derivative tells on which side of a value the minimum is:

    .. math:: \frac{1}{N} \sum_i \Bigl(\sum_k z_{ik}\,
        \mathrm{softmax}(\beta z_i)_k - z_{i y_i}\Bigr)

    Args:
        logits: a float tensor of shape `[N, K]`, of samples that the model was not
            trained on.
        labels: the classes, of shape `[N]`.

    Raises:
        ValueError: if the shapes do not match, a logit is not finite, or the best
            temperature is not between 0.001 and 1000. It is too low if all samples are
            classified correctly, and too high if the logits are useless.
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or not len(logits):
        raise ValueError(
            f"logits must be [N, K] and labels [N], with N of at least 1; got "
            f"{list(logits.shape)} and {list(labels.shape)}."
        )
    z = logits.detach().double()
    if not torch.isfinite(z).all():
        raise ValueError("logits must be finite; got NaN or infinity.")
    target = z.gather(1, labels.long()[:, None])[:, 0]  # [N]

    def slope(t: float) -> float:
        """The derivative with respect to 1/T: negative if T is too high."""
        expected = (z * torch.softmax(z / t, 1)).sum(1)  # [N]
        return float((expected - target).mean())

    low, high = LOWEST, HIGHEST
    side = "below" if slope(low) <= 0 else "above" if slope(high) >= 0 else None
    if side:
        raise ValueError(
            f"the best temperature must be between {low:g} and {high:g}; for these "
            f"logits and labels, it is {side} that range."
        )
    for _ in range(60):  # halves the logarithm of the interval each time
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) < 0 else (middle, high)
    return (low * high) ** 0.5


def _checked(probability: Values, labels: Values) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays of shape `[N]`, or raise a ValueError."""
    p, y = (torch.as_tensor(v).detach().double().numpy() for v in (probability, labels))
    if p.ndim != 1 or p.shape != y.shape or not p.size:
        raise ValueError(
            f"probability and labels must both have shape [N], with N of at least 1; "
            f"got {list(p.shape)} and {list(y.shape)}."
        )
    if not ((p >= 0) & (p <= 1)).all():
        wrong = p[~((p >= 0) & (p <= 1))][0]
        raise ValueError(f"probability must be between 0 and 1; got {wrong:g}.")
    if not np.isin(y, (0, 1)).all():
        wrong = y[~np.isin(y, (0, 1))][0]
        raise ValueError(f"labels must be 0 or 1; got {wrong:g}.")
    return p, y
