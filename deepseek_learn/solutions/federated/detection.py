"""The nodule detector as what hospitals learn: their patients are whole scans."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...training.precision import autocast_dtype, mixed_precision
from ...zoo.nets.nodule_net import NoduleNet
from ..nodules import train
from ..nodules.crops import Crops, Scans
from ..phantoms.scans import kept_scans


def network() -> NoduleNet:
    """Build the zoo's detector with GroupNorm, which mixes no patients."""
    model = NoduleNet(norm="group")
    return model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def read(hospital: str, data: str = "") -> Scans:
    """Read the scans in a hospital's folder, as `hospitals.make_scans` writes them.

    Raises:
        ValueError: if no folder is given, or if it has no scan with a nodule.
    """
    if not data:
        raise ValueError(f"data must name the folder of {hospital}'s scans.")
    own = kept_scans(Path(data))
    if not any(len(nodules) for _, nodules in own):
        raise ValueError(f"{hospital} has no scan with a nodule in {data}.")
    return own


def batch(
    own: Scans, index: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a crop of 64 mm of each of these scans, with what it should predict."""
    seeds = rng.integers(2**31, size=len(index))
    pairs = [
        Crops([own[i]], 1, int(seed)).batch([0])
        for i, seed in zip(index, seeds, strict=True)
    ]
    crops, targets = zip(*pairs, strict=True)
    return torch.cat(crops), torch.cat(targets)


def loss(model: nn.Module, crops: Tensor, targets: Tensor) -> Tensor:
    """Return the detector's loss, in bfloat16 where the processor has it."""
    with mixed_precision(crops.device, autocast_dtype("auto", model)):
        prediction = model(crops)
    return train.loss(prediction.float(), targets)
