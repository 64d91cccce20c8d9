r"""Adapt to a new wearer from ten seconds of each activity.

The examples' embeddings h have a mean per activity, :math:`\mu_c` (a prototype). A window
that is far from an activity's prototype is less likely to be that activity:

.. math:: z'_c = z_c - \beta \lVert h - \mu_c \rVert^2

A model that reads the examples well already is left as it is: there is more to lose than to
win.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...zoo.nets.movement_net import MovementNet
from .hapt import ACTIVITIES, CLASSES, HZ, WINDOW

BETA, GOOD = 0.2, 0.97  # the weight; the accuracy from which nothing is changed
SECONDS, HOP = 10, 32  # of an example; between its windows


@dataclass(frozen=True, eq=False)
class Wearer:
    """What is known about a wearer.

    Attributes:
        prototypes: the mean embedding of each activity, `[6, D]`; None if the model is
            left as it is.
        accuracy: of the unadapted model on the examples.
    """

    prototypes: Tensor | None
    accuracy: float

    @classmethod
    @torch.inference_mode()
    def of(cls, model: MovementNet, x: Tensor, labels: Tensor) -> "Wearer":
        """Learn from example windows `[N, 6, 128]` and their activities.

        Raises:
            ValueError: if an activity has no example; the message names it.
        """
        missing = sorted(set(range(ACTIVITIES)) - set(labels.tolist()))
        if missing:
            names = ", ".join(CLASSES[i] for i in missing)
            raise ValueError(
                f"labels must contain all six activities; {names} missing."
            )
        embedding = model.body(x)
        hits = model.head(embedding)[:, :ACTIVITIES].argmax(1) == labels
        accuracy = float(hits.double().mean())
        if accuracy >= GOOD:
            return cls(None, accuracy)
        own = [embedding[labels == c].mean(0) for c in range(ACTIVITIES)]
        return cls(torch.stack(own), accuracy)

    @torch.inference_mode()
    def logits(self, model: MovementNet, x: Tensor) -> Tensor:
        """Return the adapted logits of windows, `[N, 6, 128]` → `[N, 12]`."""
        embedding = model.body(x)
        logits = model.head(embedding)
        if self.prototypes is not None:
            far = torch.cdist(embedding, self.prototypes).square()
            logits[:, :ACTIVITIES] -= BETA * far
        return logits


def example_windows(signal: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return the windows of the first ten seconds of a run, `[N, 6, 128]`."""
    high = min(high, low + SECONDS * HZ)
    starts = range(low, high - WINDOW + 1, HOP)
    return np.stack([signal[:, s : s + WINDOW] for s in starts])
