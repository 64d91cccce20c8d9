"""Storage of moving averages in float32, bfloat16 or int8.

The format affects only how averages are stored between steps. All arithmetic is done in
float32. In int8, each row (all entries with the same index along the first axis) has a
scale equal to its largest magnitude divided by 127. The error of an entry is therefore
at most half a scale (Gupta et al. 2025, "Effective quantization of Muon optimizer
states", arXiv 2509.23106, find no loss of quality).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SHORT = 5  # minimum number of entries per row for int8 storage
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def allocate(state: dict[str, Any], key: str, like: Tensor, kind: str) -> None:
    """Add a zero-initialized average shaped like `like` to the state.

    Short rows are stored in bfloat16 instead of int8.
    """
    if kind == "int8" and like.dim() > 1 and like.shape[1:].numel() >= SHORT:
        rows = (len(like), *[1] * (like.dim() - 1))
        state[f"{key}_scale"] = like.new_zeros(rows, dtype=torch.float32)
    elif kind == "int8":
        kind = "bf16"  # a 4-byte scale would cancel the savings
    state[key] = torch.zeros_like(like, dtype=KINDS[kind])


def part(state: dict[str, Any], key: str, rows: slice) -> dict[str, Any]:
    """Return views of some rows of the average stored under `key`."""
    names = (key, f"{key}_scale")
    return {name: state[name][rows] for name in names if name in state}


def read(states: Sequence[dict[str, Any]], key: str, into: list[Tensor]) -> None:
    """Write the averages stored under `key` into float32 tensors of the same shapes."""
    torch._foreach_copy_(into, [s[key] for s in states])
    for x, state in zip(into, states, strict=True):
        if state[key].dtype == torch.int8:
            x.mul_(state[f"{key}_scale"])


def write(states: Sequence[dict[str, Any]], key: str, values: Sequence[Tensor]) -> None:
    """Store float32 `values` under `key`, in the storage format of each state."""
    values = list(values)
    for i, (state, value) in enumerate(zip(states, values, strict=True)):
        if state[key].dtype == torch.int8:
            scale = state[f"{key}_scale"]
            largest = value.abs().amax(tuple(range(1, value.dim())), keepdim=True)
            scale.copy_(largest).div_(127)
            values[i] = value.div(scale.clamp_min(1e-30)).round_()  # a row may be all 0
    torch._foreach_copy_([s[key] for s in states], values)
