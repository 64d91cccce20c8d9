"""A small classifier that tells nodules from other bright blobs."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...zoo.metrics import area_under_roc
from .hospitals import Patients, patients

WIDTHS = (8, 16, 32)
BATCH = 16  # patients at once; their activations fit into a processor's cache


class CandidateNet(nn.Module):
    """Three 3x3x3 convolutions and a linear layer: 17,641 parameters.

    It maps crops of shape `[..., 16, 16, 16]` with values from 0 to 1 to the logit of
    "this is a nodule", of shape `[...]`. GroupNorm does not mix examples, so a patient's
    gradient depends on that patient alone.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS):
        super().__init__()
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(zip((1, *widths), widths, strict=False)):
            stride = 1 if index == 0 else 2
            conv = nn.Conv3d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
            layers += [conv, nn.GroupNorm(4, c_out), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, crops: Tensor) -> Tensor:
        x = crops.reshape(-1, 1, *crops.shape[-3:])
        return self.head(self.layers(x)).reshape(crops.shape[:-3])


def read(hospital: str, data: str = "") -> Patients:
    """Read a hospital's training patients, from a file or, without one, the package's.

    Raises:
        ValueError: if there are none, or if they have no positive or negative crop.
    """
    own = Patients.load(data) if data else patients(hospital)
    for label, what in ((1, "nodule"), (0, "other blob")):
        if not (own.labels == label).any():
            raise ValueError(f"{hospital} has no crop with the label {label} ({what}).")
    return own


def inputs(own: Patients, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return crops from 0 to 1 and the reader's labels of some patients, or of all."""
    chosen = own if index is None else own.subset(index)
    return chosen.crops.float() / 255, chosen.labels.float()


def batch(
    own: Patients, index: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return `inputs` of the patients with these numbers; `rng` is not needed."""
    return inputs(own, torch.from_numpy(index))


def loss(model: nn.Module, crops: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of the crops."""
    return F.binary_cross_entropy_with_logits(model(crops), labels)


def patient_losses(model: nn.Module, own: Patients) -> Tensor:
    """Return the mean cross entropy of each patient's crops, `[N]`."""
    crops, labels = inputs(own)
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in crops.split(BATCH)])
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return losses.mean(1)


def scores(model: nn.Module, own: Patients) -> Tensor:
    """Return the probability that each crop shows a nodule, `[N, 4]`."""
    crops, _ = inputs(own)
    with torch.inference_mode():
        return torch.cat([model(part) for part in crops.split(BATCH)]).sigmoid()


def auroc(scores: Tensor, truth: Tensor) -> float:
    r"""Return the probability that a nodule has a higher score than another blob.

    .. math:: P(s_+ > s_-) + P(s_+ = s_-) / 2

    Raises:
        ValueError: unless there are crops with and without a nodule.
    """
    positive = (truth == 1).numpy()
    count = int(positive.sum())
    if not 0 < count < positive.size:
        raise ValueError(
            "truth must contain crops with a nodule and crops without one; "
            f"got {count} and {positive.size - count}."
        )
    return area_under_roc(scores.numpy().ravel(), positive.ravel())


def agreement(model: nn.Module, own: Patients) -> float:
    """Return the AUROC of a model on a hospital's own labels."""
    return auroc(scores(model, own), own.labels)
