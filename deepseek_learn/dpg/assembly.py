"""Build packed layers from float layers, and put them into a copy of a model."""

import copy

from torch import nn

from .convolution import DPGConv
from .frozen import freeze
from .geometry import settings
from .layers import DPGEmbedding, DPGLayer, DPGLinear
from .matrix import CONVOLUTIONS, FloatLayer
from .packed import PackedMatrix


def packed_layer(layer: FloatLayer, matrix: PackedMatrix) -> DPGLayer:
    """Build the packed layer that replaces `layer`."""
    if isinstance(layer, nn.Embedding):
        return DPGEmbedding(matrix, layer.weight.dtype)
    if isinstance(layer, CONVOLUTIONS):
        kinds = DPGConv.__subclasses__()
        kind = next(kind for kind in kinds if isinstance(layer, kind.float_layer))
        return kind(matrix, layer.bias, **settings(layer))
    return DPGLinear(matrix, layer.bias)


def share_matrix(layer: DPGLayer, first: DPGLayer) -> None:
    """Make `layer` share the matrix of `first`, so that it is stored only once."""
    layer.matrix, layer.tied = first.matrix, True


def assemble(model: nn.Module, new: dict[str, DPGLayer]) -> nn.Module:
    """Return a frozen copy of `model` with the layers in `new` substituted in.

    The float weights of the replaced layers are not copied. A layer that is used twice
    remains a single layer.
    """
    memo = {id(model.get_submodule(name)): layer for name, layer in new.items()}
    return freeze(copy.deepcopy(model, memo), DPGLayer)
