"""The acquisition function: the improvement in hypervolume over the current front.

The improvement is estimated along random directions. For a direction w drawn from the
positive unit sphere, a point x reaches t(x) = min_m (r_m - x_m) / w_m from the
reference r. Up to a constant, the hypervolume of a set is the mean over w of (max over
the set of t)^M (Deng & Zhang 2019, "Approximating hypervolume and hypervolume
contributions using polar coordinate", IEEE Transactions on Evolutionary Computation
23(5)). This is cheap enough that hundreds of children can be evaluated per trial.
"""

import numpy as np

DIRECTIONS = 200
LAST, STALLED = 5, 0.02  # stalled if 5 trials add less than 2% of the hypervolume


class Acquisition:
    """The acquisition function, which is the improvement in hypervolume over a front.

    Args:
        front: the losses on the current front and the predicted losses of pending
            trials, of shape `[N, M]`.
        reference: the reference point of the hypervolume, of shape `[M]`.
        low: the best value of each objective, of shape `[M]`. It is used to scale the
            directions.
        rng: the random generator used to draw the directions.
    """

    def __init__(
        self,
        front: np.ndarray,
        reference: np.ndarray,
        low: np.ndarray,
        rng: np.random.Generator,
    ):
        size = front.shape[1]  # M objectives
        # normal samples have no preferred direction; their absolute values, divided by
        # their lengths, are uniform on the positive part of the sphere
        sphere = np.abs(rng.standard_normal((DIRECTIONS, size)))
        sphere /= np.linalg.norm(sphere, axis=1)[:, None]
        # scale the directions, or an objective with large values would decide alone
        self._weights = sphere * np.maximum(reference - low, 1e-9)
        self._reference, self._power = reference, size
        # the reach of the front as a whole; points beyond the reference add no volume
        self._best = np.maximum(self.reach(front).max(0), 0)  # [directions]

    def reach(self, losses: np.ndarray) -> np.ndarray:
        """Return how far each point reaches in each direction.

        Returns:
            The values of t(x) (see the module), of shape `[N, directions]`.
        """
        gaps = (self._reference - losses).T[:, :, None] / self._weights.T[:, None, :]
        return gaps.min(0)  # [M, N, directions]: the short axis first is much faster

    def gain(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the improvement of each point and its largest reach in any direction.

        A point with a negative reach does not improve the hypervolume.
        """
        reach = self.reach(losses)  # [N, directions]
        # a point adds volume only along the directions where it reaches beyond the front
        larger = np.maximum(reach, self._best) ** self._power
        return (larger - self._best**self._power).mean(1), reach.max(1)


def far_reference(
    front: np.ndarray, losses: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a reference point beyond the worst losses.

    The worst losses are taken from the front half of the time, and from all trials
    otherwise. A more distant reference point gives more weight to the ends of the
    front. `losses` contains the losses of all trials and has shape `[N, M]`.
    """
    extent = front if rng.random() < 0.5 else losses
    span = np.maximum(np.ptp(extent, axis=0), 1e-3)
    return extent.max(0) + 0.1 * span


def near_reference(
    low: np.ndarray, worst: np.ndarray, trust: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a reference point between the best and the worst losses.

    A reference point this close favors the middle of the front.
    """
    return low + (worst - low + 1e-3) * rng.uniform(0.2, 0.6 + 0.5 * trust)


def stalled(losses: np.ndarray, parents: np.ndarray) -> bool:
    """Return whether the most recent trials have barely increased the hypervolume."""
    if len(losses) <= LAST:
        return False
    low, worst = losses.min(0), losses[parents].max(0)
    reference = worst + 0.1 * (worst - low)
    rng = np.random.default_rng(0)  # fixed, or the directions alone could end a stall
    acquisition = Acquisition(losses[:1], reference, low, rng)
    reach = np.maximum(acquisition.reach(losses), 0) ** losses.shape[1]
    # the hypervolume with and without the last trials, in the same units
    now, before = reach.max(0).mean(), reach[:-LAST].max(0).mean()
    return now - before < STALLED * now
