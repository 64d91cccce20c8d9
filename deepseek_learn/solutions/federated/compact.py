"""Updates as 8-bit codes: the difference from the model that was sent, as DPG rounds it."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dpg import Codes, quantize

BITS, GROUP = 8, 64
CODES, SCALES = "codes", "scales"


def encode(
    state: Mapping[str, Tensor], sent: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the difference of two models as 8-bit codes with a scale per 64 values.

    All tensors follow each other in one row, each padded to a multiple of 64.

    Args:
        state: the trained model.
        sent: the model that the hospital was sent.

    Returns:
        `codes`, uint8, and `scales`, bfloat16 as int16.
    """
    parts = [(state[name] - sent[name]).float().flatten() for name in sent]
    row = torch.cat([F.pad(part, (0, -len(part) % GROUP)) for part in parts])
    codes = quantize(row[None], BITS, GROUP)
    return {CODES: codes.codes[0], SCALES: codes.scale[:, 0].view(torch.int16)}


def decode(
    encoded: Mapping[str, Tensor], sent: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the model that `encode` was given, up to rounding.

    Raises:
        ValueError: if the codes do not fit the model that was sent.
    """
    sizes = [value.numel() + -value.numel() % GROUP for value in sent.values()]
    codes, scales = encoded[CODES], encoded[SCALES]
    if codes.shape != (sum(sizes),) or scales.shape != (sum(sizes) // GROUP,):
        raise ValueError(
            f"it sent codes of another model: {len(codes)} of them, not {sum(sizes)}"
        )
    scale = scales.view(torch.bfloat16)[:, None]
    row = Codes(codes[None], scale, torch.tensor([BITS]), len(codes)).dequantize()[0]
    parts = zip(sent.items(), row.split(sizes), strict=True)
    return {n: v + part[: v.numel()].reshape(v.shape) for (n, v), part in parts}
