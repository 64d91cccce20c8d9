"""Mixed precision for the forward pass."""

import torch
from torch import nn

from ..machine import multiplies_bfloat16


def autocast_dtype(
    autocast: torch.dtype | str | None, model: nn.Module
) -> torch.dtype | None:
    """Return the dtype for autocast; `"auto"` is resolved for the model's device."""
    if autocast == "auto":
        is_faster = multiplies_bfloat16(next(model.parameters()).device)
        return torch.bfloat16 if is_faster else None
    if isinstance(autocast, str):
        raise ValueError(f'autocast must be a dtype, "auto" or None; got {autocast!r}.')
    return autocast


def mixed_precision(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
