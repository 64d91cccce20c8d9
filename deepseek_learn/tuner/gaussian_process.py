r"""Gaussian-process regression, the model behind the surrogates (`surrogate.py`).

This method is also known as kriging. It is a radial-basis model with fitted widths. The
kernel is the Matern kernel of order 5/2,

    k(a, b) = (1 + r + r^2 / 3) exp(-r),   r^2 = 5 \sum_d (a_d - b_d)^2 / l_d^2.

The values are modeled as samples from a normal distribution with covariance k, plus
noise. The noise and the length scales l_d, one per hyperparameter, maximize the
likelihood of the data times a prior centered on typical values. The prior prevents
overfitting when there are only about ten trials.

Rasmussen & Williams 2006, "Gaussian processes for machine learning", MIT Press,
chapters 2 and 5.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

NUGGET = 1e-8  # keeps the covariance matrix invertible if two trials coincide
LENGTHS, NOISES = (np.log(0.05), np.log(50)), (np.log(1e-6), 0.0)
USUAL_NOISE, NOISE_SPREAD = np.log(1e-3), 2.0
ITERATIONS = 20
STRAIGHT = 4.0  # where `soften` begins to compress


def soften(values: np.ndarray) -> np.ndarray:
    """Compress the values of an objective that are far above the others.

    The result is linear up to `STRAIGHT` times the distance between the smallest value
    and the median, and logarithmic above it. Otherwise, the large error from a diverged
    training run would mask the differences between good runs.
    """
    low = values.min()
    scale = STRAIGHT * (np.median(values) - low)
    if not scale > 0:
        return values
    above = np.maximum(values - low - scale, 0) / scale
    return np.where(values > low + scale, low + scale * (1 + np.log1p(above)), values)


class GaussianProcess:
    """A Gaussian process fitted to one standardized objective.

    Args:
        features: the inputs, of shape `[N, F]` (see `Encoding.features`).
        values: the targets, of shape `[N]`, with a mean of about 0 and a standard
            deviation of about 1.
        owner: the index of the hyperparameter that each feature column belongs to, an
            int array of shape `[F]`.
        logs: the D log length scales followed by the log noise, from `fit_lengths`.
    """

    def __init__(
        self,
        features: np.ndarray,
        values: np.ndarray,
        owner: np.ndarray,
        logs: np.ndarray,
    ):
        # 1. Divide each column by the length scale of its hyperparameter, so that the
        # kernel depends on plain distances.
        self._scale = np.exp(-logs[:-1])[owner]  # [D] → [F]
        self._points = features * self._scale  # [N, F]
        # 2. Factorize K + noise I once; every prediction reuses the factor.
        kernel = self._kernel(self._points)  # [N, N]
        kernel[np.diag_indices_from(kernel)] += np.exp(logs[-1]) + NUGGET
        self._factor = cho_factor(kernel, lower=True)
        # 3. The posterior mean at x is k(x) @ weights.
        self._weights = cho_solve(self._factor, values)  # K⁻¹ y, [N]
        # The kernel has variance 1; this is the maximum-likelihood scale of the values.
        self._variance = max(values @ self._weights / len(values), 1e-12)

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Return the posterior mean, of shape `[N]`, for features of shape `[N, F]`."""
        return self._kernel(features * self._scale) @ self._weights

    def optimistic(self, features: np.ndarray, spreads: float) -> np.ndarray:
        """Return the posterior mean minus `spreads` standard deviations.

        The result has shape `[N]`.
        """
        if not spreads:
            return self.mean(features)
        kernel = self._kernel(features * self._scale)  # [P, N]
        # 1 - k K⁻¹ kᵀ = 1 - |L⁻¹ kᵀ|²; close to a trial, rounding could make it negative
        v = solve_triangular(self._factor[0], kernel.T, lower=True, check_finite=False)
        variance = np.maximum(1 - (v * v).sum(0), 1e-10) * self._variance  # [P]
        return kernel @ self._weights - spreads * np.sqrt(variance)

    def _kernel(self, points: np.ndarray) -> np.ndarray:
        a, b = points, self._points
        # |a - b|² = |a|² + |b|² - 2 a·b takes one matrix product instead of an array of
        # shape [P, N, F], but may be slightly negative for equal points
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T  # [P, N]
        r = np.sqrt(5 * np.maximum(squares, 0))
        return (1 + r + r * r / 3) * np.exp(-r)


def fit_lengths(
    features: np.ndarray, values: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Fit the log length scales and the log noise.

    Returns:
        A float array of shape `[D + 1]`, with one length scale per hyperparameter
        followed by the noise.
    """
    # 1. The squared distances along each hyperparameter, which all steps reuse. The
    # columns of a one-hot encoded category share one length scale.
    dimensions = owner.max() + 1
    squares = np.zeros((dimensions, len(features), len(features)))  # [D, N, N]
    for column, hyperparameter in zip(features.T, owner, strict=True):
        squares[hyperparameter] += (column[:, None] - column[None]) ** 2
    squares = squares.reshape(dimensions, -1)  # [D, N²]
    # 2. Start at the prior's center. Distances in the unit cube grow with √D, and the
    # usual length scale with them.
    usual = np.log(0.6 * np.sqrt(dimensions))
    start = np.append(np.full(dimensions, usual), np.log(1e-2))
    result = minimize(
        _loss,
        start,
        args=(squares, values, usual),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS},
        bounds=[LENGTHS] * dimensions + [NOISES],
    )
    return result.x


def _loss(
    logs: np.ndarray, squares: np.ndarray, values: np.ndarray, usual: float
) -> tuple[float, np.ndarray]:
    """Return the negative log of the likelihood times the prior, and its gradient."""
    n, noise = len(values), np.exp(logs[-1])
    inverse_squares = np.exp(-2 * logs[:-1])
    # 1. The kernel matrix at these length scales.
    r = np.sqrt(5 * (inverse_squares @ squares)).reshape(n, n)
    decay = np.exp(-r)
    kernel = (1 + r + r * r / 3) * decay  # [n, n]
    kernel[np.diag_indices(n)] += noise + NUGGET
    try:
        factor = cho_factor(kernel, lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(logs)
    # 2. The likelihood. The best variance has a closed form, so it is not searched for.
    weights = cho_solve(factor, values)
    variance = max(values @ weights / n, 1e-12)  # avoid 0 if all values are equal
    loss = 0.5 * n * np.log(variance) + np.log(np.diag(factor[0])).sum()
    # 3. The gradient, by the chain rule through the kernel.
    inverse = cho_solve(factor, np.eye(n))
    # twice the derivative of the loss with respect to the kernel, [n, n]
    slope = inverse - np.outer(weights, weights) / variance
    # dk/d(r²/5) of the Matern kernel; dividing by r is avoided, which is 0 on the diagonal
    by_square = -(5 / 6) * (1 + r) * decay
    gradient = np.empty_like(logs)
    gradient[:-1] = -(squares @ (slope * by_square).ravel()) * inverse_squares
    gradient[-1] = 0.5 * np.trace(slope) * noise
    # 4. Add the prior, a normal distribution over the logs
    offset, noise_offset = logs[:-1] - usual, (logs[-1] - USUAL_NOISE) / NOISE_SPREAD
    loss += 0.5 * (offset @ offset) + 0.5 * noise_offset**2
    gradient[:-1] += offset
    gradient[-1] += noise_offset / NOISE_SPREAD
    return loss, gradient
