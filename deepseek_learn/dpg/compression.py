"""Calibrate, allocate, convert: from a trained model to one that stores planes."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalogue import text
from ..report import Report
from .allocation import FLOAT, Allocation, allocate, check_budget, check_group_size
from .calibration import Calibration, calibrate, check_calibration
from .layers import DPGConv2d, DPGLayer, DPGLinear, packed_layers, refuse_training
from .matrix import (
    bytes_of,
    layer_weight,
    left_in_float,
    matching_layers,
    weight_matrix,
)
from .packed import PackedMatrix, pack_matrix
from .rounding import Codes, quantise


@dataclass(frozen=True)
class Compression(Report):
    """A compressed model and what became of the original.

    Attributes:
        model: answers like the original; cannot train.
        allocation: the bits of every row.
        stored_bytes: of the compressed model; `original_bytes` of the one before.
        in_float: module → why its matrix was left as it was.
    """

    model: nn.Module
    allocation: Allocation
    stored_bytes: int
    original_bytes: int
    in_float: dict[str, str]

    @property
    def ratio(self) -> float:
        """Stored bytes over original bytes."""
        return self.stored_bytes / self.original_bytes

    def to_frame(self) -> pd.DataFrame:
        """One row a module with a matrix: average bits, stored bytes, what it is."""
        rows = {}
        for name, layer in packed_layers(self.model).items():
            rows[name] = {
                "average_bits": self.allocation.bits[name].double().mean().item(),
                "stored_bytes": bytes_of(layer),
                "kept_as": text("dpg.planes"),
            }
        for name, reason in self.in_float.items():
            module = self.model.get_submodule(name)
            rows[name] = {
                "average_bits": float("nan"),
                "stored_bytes": bytes_of(module),
                "kept_as": text(f"dpg.float_{reason}"),
            }
        return pd.DataFrame(rows).T.rename_axis("module")

    def plot(self):
        """Where the stored bytes are, a bar a module (plotly)."""
        import plotly.graph_objects as go

        frame = self.to_frame()
        bars = go.Bar(x=frame.index, y=frame["stored_bytes"])
        figure = go.Figure(bars).update_layout(template="plotly_white")
        return figure.update_yaxes(title=text("dpg.stored_bytes"))

    def why(self) -> str:
        said = text(
            "dpg.compression",
            ratio=f"{self.ratio:.1%}",
            before=f"{self.original_bytes / 2**20:.2f}",
            after=f"{self.stored_bytes / 2**20:.2f}",
        )
        said = f"{said} {self.allocation.why()}"
        if self.in_float:
            left = text("dpg.left", count=len(self.in_float), name=min(self.in_float))
            said = f"{said} {left}"
        return said


def compress(
    model: nn.Module,
    batches: Iterable,
    bits: float = 4.0,
    criterion: str = "sensitivity",
    group_size: int = 64,
    refine: bool = False,
    logits: Callable[[nn.Module, Tensor], Tensor] | None = None,
) -> Compression:
    """Compress a trained model in one call; the model itself stays as it is.

    Args:
        batches: calibration inputs (see `calibrate`).
        bits: the budget a weight, 2 to 8, without scales (see `allocate`).
        criterion: a name in `dpg.grouping`.
        refine: also keep a refine term (see `Cascade`).

    Raises:
        ValueError: as `calibrate` and `allocate`.

    >>> small = compress(model, batches, bits=4)                    # doctest: +SKIP
    >>> small.why(), small.ratio                                    # doctest: +SKIP
    """
    check_budget(bits)
    check_group_size(group_size)
    calibration = calibrate(model, batches, logits)
    allocation = allocate(model, calibration, bits, criterion, group_size)
    small = convert(model, allocation, calibration, refine)
    return Compression(
        small,
        allocation,
        bytes_of(small),
        bytes_of(model),
        left_in_float(model, allocation.bits),
    )


def convert(
    model: nn.Module,
    allocation: Allocation,
    calibration: Calibration | None = None,
    refine: bool = False,
) -> nn.Module:
    """A copy of the model with packed layers, in evaluation mode.

    Args:
        allocation: bits of every row, from `allocate` or `uniform`.
        calibration: rounds by GPTQ; None, or a layer that it has not seen: to nearest.
        refine: add a 4-bit term that holds the base's rounding error.

    Raises:
        ValueError: for an allocation or a calibration of another model, and for rows of
            32 bits, which planes do not hold.
    """
    layers = _matching(model, allocation, calibration)
    new = {}
    for name, layer in layers.items():
        codes = _codes(name, layer, allocation, calibration, allocation.bits[name])
        moment = _second_moment(name, calibration)
        matrix = pack_matrix(codes, weight_matrix(layer).cpu(), refine, moment)
        new[name] = packed_layer(layer, matrix).to(layer.weight.device)
    return assemble(model, new)


def simulate(
    model: nn.Module, allocation: Allocation, calibration: Calibration | None = None
) -> nn.Module:
    """A float copy of the model whose weights are rounded as `convert` would.

    The quick way to compare allocations: no packing, and activations stay exact. Rows
    of 32 bits stay as they are.
    """
    result = copy.deepcopy(model).eval()
    for name, layer in _matching(model, allocation, calibration).items():
        kept = allocation.bits[name] == FLOAT
        bits = allocation.bits[name].masked_fill(kept, 8)
        rounded = _codes(name, layer, allocation, calibration, bits).dequantise()
        rounded[kept] = weight_matrix(layer).cpu()[kept]
        with torch.no_grad():
            result.get_submodule(name).weight.copy_(layer_weight(rounded, layer))
    return result


def packed_layer(layer: nn.Module, matrix: PackedMatrix) -> DPGLayer:
    """The compressed layer that takes the place of `layer`."""
    if isinstance(layer, nn.Conv2d):
        geometry = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        return DPGConv2d(matrix, layer.bias, *geometry)
    return DPGLinear(matrix, layer.bias)


def assemble(model: nn.Module, new: dict[str, DPGLayer]) -> nn.Module:
    """A copy of `model` with the layers `new` in their places, all frozen.

    Their float weights are never copied, and a layer used twice stays one layer.
    """
    memo = {id(model.get_submodule(name)): layer for name, layer in new.items()}
    result = copy.deepcopy(model, memo)
    result.train = _Train(result)
    return result.requires_grad_(False).eval()


class _Train:
    """`model.train` of a compressed model: refuses before anything is changed."""

    def __init__(self, model: nn.Module):
        self.model = model

    def __call__(self, mode: bool = True) -> nn.Module:
        refuse_training(mode)
        return type(self.model).train(self.model, mode)


def _matching(model: nn.Module, allocation, calibration) -> dict[str, nn.Module]:
    if calibration is not None:
        check_calibration(calibration, model)
    sizes = {
        name: (len(bits), allocation.columns[name])
        for name, bits in allocation.bits.items()
    }
    return matching_layers(model, sizes, "allocation is")


def _codes(name: str, layer: nn.Module, allocation, calibration, bits) -> Codes:
    group_size, moment = allocation.group_sizes[name], _second_moment(name, calibration)
    return quantise(weight_matrix(layer).cpu(), bits, group_size, moment)


def _second_moment(name: str, calibration: Calibration | None) -> Tensor | None:
    seen = calibration.layers.get(name) if calibration else None
    return None if seen is None else seen.second_moment
