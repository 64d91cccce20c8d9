"""The reference: every row has the same number of bits."""

import torch


def allocate(layers, bits):
    return [torch.full((len(layer.weight),), bits) for layer in layers]
