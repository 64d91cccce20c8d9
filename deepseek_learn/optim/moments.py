"""Store moving averages between steps as float32, bfloat16, or int8 with scales.

All arithmetic is in float32; only the storage differs. In int8 each row (everything under
one index of the first axis) has one scale, its largest magnitude / 127, so that an entry
is off by at most half a scale (Gupta et al. 2025, "Effective
quantization of Muon optimizer states", arXiv 2509.23106, find no loss of quality).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SHORT = 5  # minimum number of entries in an int8 row
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def allocate(state: dict[str, Any], key: str, like: Tensor, kind: str) -> None:
    """Allocate a zero average shaped like `like`; short rows are never stored in int8."""
    if kind == "int8" and like.dim() > 1 and like.shape[1:].numel() >= SHORT:
        rows = (len(like), *[1] * (like.dim() - 1))
        state[f"{key}_scale"] = like.new_zeros(rows, dtype=torch.float32)
    elif kind == "int8":
        kind = "bf16"  # a scale of four bytes would cost more than it saves
    state[key] = torch.zeros_like(like, dtype=KINDS[kind])


def read(states: Sequence[dict[str, Any]], key: str) -> list[Tensor]:
    """Return the averages under `key` in float32; only other formats are copied."""
    return [
        s[key].float().mul_(s[f"{key}_scale"])
        if s[key].dtype == torch.int8
        else s[key].float()
        for s in states
    ]


def write(states: Sequence[dict[str, Any]], key: str, values: Sequence[Tensor]) -> None:
    """Store float32 `values` in the format of each state."""
    values = list(values)
    for i, (state, value) in enumerate(zip(states, values, strict=True)):
        if state[key].dtype == torch.int8:
            scale = state[f"{key}_scale"]
            largest = value.abs().amax(tuple(range(1, value.dim())), keepdim=True)
            scale.copy_(largest).div_(127)
            values[i] = value.div(scale.clamp_min(1e-30)).round_()
    torch._foreach_copy_([s[key] for s in states], values)
