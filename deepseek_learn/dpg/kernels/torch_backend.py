"""The plain PyTorch backend, which unpacks the weight on each call. Exact but slow."""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ..packed import PackedMatrix

representable = None  # activations are not rounded


def problem() -> str:
    return ""


def facts() -> dict:
    return {}


def multiply(matrix: "PackedMatrix", x: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, matrix.dequantize(), None if bias is None else bias.float())
