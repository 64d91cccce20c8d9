"""How the values of each parameter are distributed."""

import pandas as pd
import torch
from torch import Tensor, nn

BINS = 60
MOST = 2**20  # of a larger parameter every n-th value is looked at, evenly


def distribution(model: nn.Module) -> dict[str, pd.Series]:
    """Parameter → its values' mean, spread, extremes and histogram.

    The series holds `count`, `mean`, `std`, `min`, `max`, `zeros` (a share) and `bins`
    (60 counts between min and max). Weights that a layer holds packed are looked at
    through its `weight`. Values that are not finite are left out and counted (`nans`).
    """
    found = dict(model.named_parameters())
    for name, module in model.named_modules():
        weight = f"{name}.weight".strip(".")
        if hasattr(module, "matrix") and weight not in found:
            found[weight] = module.weight
    return {name: _describe(value.detach()) for name, value in found.items()}


def _describe(values: Tensor) -> pd.Series:
    count = values.numel()
    some = values.flatten()[:: count // MOST + 1].float().cpu()
    finite = some[some.isfinite()]
    if not len(finite):
        return pd.Series({"count": count, "nans": 1.0, "bins": []})
    low, high = finite.min().item(), finite.max().item()
    bins = torch.histc(finite, BINS, low, high if high > low else low + 1)
    return pd.Series(
        {
            "count": count,
            "mean": finite.mean().item(),
            "std": finite.std(correction=0).item(),
            "min": low,
            "max": high,
            "zeros": (finite == 0).double().mean().item(),
            "nans": 1 - len(finite) / len(some),
            "bins": bins.tolist(),
        }
    )
