"""What hospitals can learn together: a classifier of candidates, or the detector."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from . import candidates, detection


@dataclass(frozen=True)
class Task:
    """A network, its loss, and how a hospital's patients become its inputs.

    Attributes:
        network: builds it.
        read: returns a hospital's patients, given its name and its `data`; their number
            is their `len`.
        batch: returns the inputs and labels of the patients with some numbers.
        loss: of the network, inputs and labels.
        agreement: the AUROC of a network on a hospital's own labels; None for no check.
    """

    network: Callable[[], nn.Module]
    read: Callable[[str, str], Any]
    batch: Callable[[Any, np.ndarray, np.random.Generator], tuple[Tensor, Tensor]]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    agreement: Callable[[nn.Module, Any], float] | None = None


CANDIDATES = Task(
    candidates.CandidateNet,
    candidates.read,
    candidates.batch,
    candidates.loss,
    candidates.agreement,
)
DETECTOR = Task(detection.network, detection.read, detection.batch, detection.loss)
TASKS = {"candidates": CANDIDATES, "detector": DETECTOR}
