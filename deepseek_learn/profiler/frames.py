"""Turn the records of the passes into the tables of a profile."""

import statistics
from collections.abc import Iterable

import pandas as pd

from .module_paths import ModulePaths
from .recorder import Counter, Operator
from .shapes import in_words


def operator_frame(
    operators: list[Operator], passes: list[list[float]]
) -> pd.DataFrame:
    """Return one row per operator call with its median time and interquartile range."""
    columns = list(Operator.__dataclass_fields__)
    frame = pd.DataFrame([vars(o) for o in operators], columns=columns)
    frame = frame.rename(columns={"path": "layer", "name": "operator"})
    times = [quartiles(call) for call in zip(*passes, strict=True)]
    times = times or [(float("nan"),) * 3] * len(operators)
    frame["output_shape"] = [in_words(o.output_shape) for o in operators]
    frame["latency_ms"] = [1e3 * median for _, median, _ in times]
    frame["iqr_ms"] = [1e3 * (high - low) for low, _, high in times]
    return frame


def layer_frame(
    paths: ModulePaths, calls: dict[str, int], counter: Counter
) -> pd.DataFrame:
    """Return one row per module.

    A shared parameter is counted only for the first module that contains it.
    """
    owners: dict[int, str] = {}
    rows = {}
    for path, module in paths.modules.items():
        own = {id(p): p for p in module.parameters(recurse=False)}
        shared = sorted({owners[i] for i in own if i in owners})
        new = [p for i, p in own.items() if i not in owners]
        owners |= {i: path for i in own if i not in owners}
        packed = counter.costs.get(path)
        rows[path] = {
            "type": type(module).__name__,
            "calls": calls.get(path, 0),
            "output_shape": counter.output_shapes.get(path, ""),
            "parameters": sum(p.numel() for p in new)
            + ((packed and packed.parameters) or 0),
            "parameter_bytes": sum(p.nbytes for p in new)
            + ((packed and packed.parameter_bytes) or 0),
            "shared_with": ", ".join(p or "(model)" for p in shared),
        }
    return pd.DataFrame(rows).T.rename_axis("layer")


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    values = list(values)
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
