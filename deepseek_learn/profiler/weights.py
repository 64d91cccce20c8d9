"""The distribution of each parameter's values."""

import pandas as pd
import torch
from torch import Tensor, nn

from .costs import layer_cost

BINS = 60
MOST = 2**17  # a larger parameter is subsampled with a constant stride


def distribution(model: nn.Module) -> dict[str, pd.Series]:
    """Map each parameter to the mean, std, extremes and histogram of its values.

    The series holds `count`, `min`, `max` (of all values), `mean`, `std`, `zeros` (a
    fraction) and `bins` (60 counts between min and max); the last four are computed from
    at most 131,072 values. A layer's packed weights are read through its `weight`.
    Non-finite values are excluded, and `nans` is their fraction. The real and imaginary
    parts of complex values are pooled.
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
    if values.is_meta:  # it has no values
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
    """Return the smallest and the largest value, if there are any."""
    return values.aminmax() if values.numel() else ()


def _bins(values: Tensor, low: float, high: float) -> list[float]:
    return torch.histc(values, BINS, low, high if high > low else low + 1).tolist()
