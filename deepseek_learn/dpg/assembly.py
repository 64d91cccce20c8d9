"""Put packed layers into a copy of a model."""

import copy

from torch import nn

from .frozen import freeze
from .layers import DPGLayer


def assemble(model: nn.Module, new: dict[str, DPGLayer]) -> nn.Module:
    """Return a frozen copy of `model` with the layers in `new` substituted in.

    The float weights of the replaced layers are not copied. A layer that is used twice
    remains a single layer.
    """
    memo = {id(model.get_submodule(name)): layer for name, layer in new.items()}
    return freeze(copy.deepcopy(model, memo), DPGLayer)
