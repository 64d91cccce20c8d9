"""Describe the distribution of each parameter's values."""

import pandas as pd
import torch
from torch import Tensor, nn

from .costs import layer_cost

BINS = 60
MOST = 2**17  # larger parameters are subsampled with a constant stride


def distribution(model: nn.Module) -> dict[str, pd.Series]:
    """Return summary statistics and a histogram for each parameter, keyed by name.

    Each series contains `count`, `min`, `max`, `mean`, `std`, `zeros` (the fraction of
    zeros) and `bins` (a histogram with 60 bins between the minimum and the maximum).
    `min` and `max` are computed from all values, and the last four entries from at most
    131,072 values. Non-finite values are excluded, and `nans` is their fraction. The
    real and imaginary parts of complex values are pooled. If a layer stores its weights
    in a packed format, they are read through its `weight` attribute.
    """
    weights: dict[str, Tensor] = dict(model.named_parameters())
    for name, module in model.named_modules():
        weight = f"{name}.weight".strip(".")
        if layer_cost(module) and weight not in weights:
            value = getattr(module, "weight", None)
            if isinstance(value, Tensor):
                weights[weight] = value
    return {name: _describe(value.detach()) for name, value in weights.items()}


def _describe(values: Tensor) -> pd.Series:
    count = values.numel()
    if values.is_meta:  # meta tensors have no values
        return pd.Series({"count": count, "bins": []})
    if values.is_complex():
        values = torch.view_as_real(values)
    elif values.is_floating_point() and values.element_size() == 1:
        values = values.float()  # float8 supports few operations
    sample = values.flatten()[:: values.numel() // MOST + 1].float().cpu()
    finite, ends = sample, _ends(values)
    if not all(end.isfinite() for end in ends):
        finite = sample[sample.isfinite()]
        ends = _ends(finite)
    if not ends:
        return pd.Series({"count": count, "nans": float(count > 0), "bins": []})
    low, high = (end.item() for end in ends)
    std, mean = torch.std_mean(finite, correction=0)
    return pd.Series(
        {
            "count": count,
            "mean": mean.item(),
            "std": std.item(),
            "min": low,
            "max": high,
            "zeros": 1 - finite.count_nonzero().item() / len(finite),
            "nans": 1 - len(finite) / len(sample),
            "bins": _bins(finite, low, high),
        }
    )


def _ends(values: Tensor) -> tuple[Tensor, ...]:
    """Return the minimum and the maximum, or an empty tuple if there are no values."""
    return values.aminmax() if values.numel() else ()


def _bins(values: Tensor, low: float, high: float) -> list[float]:
    return torch.histc(values, BINS, low, high if high > low else low + 1).tolist()
