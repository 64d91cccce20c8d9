"""Compress a trained model: calibrate it, allocate bits, and convert its layers."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..bar import Bar
from ..catalog import text
from ..report import Report
from .allocation import FLOAT, Allocation, allocate, uniform
from .arena import gather
from .assembly import assemble, packed_layer, share_matrix
from .batches import check_batches
from .calibration import Calibration, calibrate, check_calibration
from .codes import BITS, Codes, check_group_size
from .knapsack import check_budget, check_granularity
from .layers import DPGLayer, packed_layers
from .matrix import (
    Filter,
    FloatLayer,
    Layers,
    bytes_of,
    layer_weight,
    own_bytes,
    weight_matrix,
)
from .packed import pack_matrix
from .recurrent import stepwise
from .rounding import quantize

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROUNDINGS = ("gptq", "nearest")
SHOW_BAR_PARAMETERS = 10_000_000


@dataclass(frozen=True)
class Compression(Report):
    """A compressed model, with details on how it was compressed.

    Attributes:
        model: a drop-in replacement for the original model. It supports inference only
            and cannot be trained.
        allocation: the number of bits used for each row.
        stored_bytes: the size of the compressed model in bytes.
        original_bytes: the size of the original model in bytes.
        in_float: maps the name of each module that was not compressed to the reason.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> small = dpg.compress(net, [torch.rand(16, 64) for _ in range(4)], bits=4)
    >>> small.stored_bytes < small.original_bytes / 4
    True
    """

    model: nn.Module
    allocation: Allocation
    stored_bytes: int
    original_bytes: int
    in_float: dict[str, str]

    @property
    def ratio(self) -> float:
        """The size of the compressed model divided by the size of the original."""
        return self.stored_bytes / self.original_bytes

    def to_frame(self) -> pd.DataFrame:
        """Tabulate the average bits, size and storage format of each weight matrix."""
        rows = {}
        packed = packed_layers(self.model)
        first = {id(packed[name].matrix): name for name in self.allocation.bits}
        for name, layer in packed.items():
            owner = first[id(layer.matrix)]
            tied = text("dpg.planes_tied", name=owner)
            rows[name] = {
                "average_bits": self.allocation.bits[owner].double().mean().item(),
                "stored_bytes": bytes_of(layer) if owner == name else own_bytes(layer),
                "kept_as": text("dpg.planes") if owner == name else tied,
            }
        for name, reason in self.in_float.items():
            rows[name] = {
                "average_bits": float("nan"),
                "stored_bytes": own_bytes(self.model.get_submodule(name)),
                "kept_as": text(f"dpg.float_{reason}"),
            }
        return pd.DataFrame(rows).T.rename_axis("module")

    def plot(self) -> "go.Figure":
        """Plot the stored bytes of each module as a bar chart (plotly)."""
        import plotly.graph_objects as go

        frame = self.to_frame()
        bars = go.Bar(x=frame.index, y=frame["stored_bytes"])
        figure = go.Figure(bars).update_layout(template="plotly_white")
        return figure.update_yaxes(title=text("dpg.stored_bytes"))

    def why(self) -> str:
        summary = text(
            "dpg.compression",
            ratio=f"{self.ratio:.1%}",
            before=f"{self.original_bytes / 2**20:.2f}",
            after=f"{self.stored_bytes / 2**20:.2f}",
        )
        summary = f"{summary} {self.allocation.why()}"
        if self.in_float:
            summary = f"{summary} {self._float_summary()}"
        return summary

    def _float_summary(self) -> str:
        """Summarize how much stays in float, and why the largest module does."""
        submodule = self.model.get_submodule
        sizes = {name: own_bytes(submodule(name)) for name in self.in_float}
        largest = max(sizes, key=sizes.__getitem__)
        tensors = {
            id(t): t.nbytes
            for name in self.in_float
            for t in submodule(name).parameters(recurse=False)
        }
        return text(
            "dpg.left",
            count=len(sizes),
            share=f"{sum(tensors.values()) / self.stored_bytes:.1%}",
            name=largest or type(self.model).__name__,
            reason=text(f"dpg.float_{self.in_float[largest]}"),
        )


def compress(
    model: nn.Module,
    batches: Iterable[Any],
    bits: float = 4.0,
    criterion: str = "sensitivity",
    group_size: int = 64,
    refine: bool = False,
    logits: Callable[[nn.Module, Any], Tensor] | None = None,
    rounding: str = "gptq",
    filter: Filter | None = None,
    layer_bits: Mapping[str, int] | None = None,
    progress: bool | None = None,
    levels: tuple[int, ...] = BITS,
    granularity: str = "rows",
) -> Compression:
    """Compress a trained model in one call, without modifying the original.

    An `nn.LSTM`, `nn.GRU` or `nn.RNN` is packed as the linear layers that it consists of
    (see `stepwise`).

    Args:
        batches: the calibration inputs (see `calibrate`).
        bits: the average number of bits per weight, from 2 to 8, excluding the scales
            (see `allocate`).
        criterion: the name of a criterion in `dpg.grouping`, or "uniform".
        refine: whether to store an additional refine term (see `Cascade`).
        logits: a function `logits(model, batch)` that returns the logits, for models
            that return something else.
        rounding: "gptq" or "nearest". Rounding to nearest takes a fraction of the time
            but loses more accuracy at 4 bits and below.
        filter: a function `filter(name, layer)` that selects the layers to compress.
            The other layers stay in float.
        layer_bits: maps layer names or patterns to bit widths (see `allocate`).
        progress: whether to show a progress bar. If None, a bar is shown only for
            models with more than 10 million parameters.
        levels: the allowed bit widths.
        granularity: "rows", or "layer" for one bit width per layer (see `allocate`).

    Raises:
        ValueError: if `rounding` is unknown, or if `calibrate` or `allocate` raises
            ValueError.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> batches = [torch.rand(16, 64) for _ in range(4)]
    >>> small = dpg.compress(net, batches, bits=4)
    >>> small.model(batches[0]).shape, small.ratio > 4
    (torch.Size([16, 8]), False)
    """
    check_budget(bits, tuple(sorted(levels)))
    check_group_size(group_size)
    check_granularity(granularity)
    # 1. Reject invalid arguments before the slow steps.
    check_batches(batches)
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {ROUNDINGS}; got {rounding!r}.")
    layers = Layers.of(stepwise(model, filter), filter)
    size = sum(p.numel() for p in model.parameters())
    show_bar = size > SHOW_BAR_PARAMETERS if progress is None else progress
    with Bar(100, show_bar, text("dpg.bar")) as bar:
        # 2. Collect the statistics of each layer, H [K, K] and g^2 [N]. GPTQ needs the
        # full H, while rounding to nearest needs only its diagonal.
        batches = _with_progress(batches, bar.section(40))
        calibration = calibrate(
            layers, batches, logits, correlations=rounding == "gptq"
        )
        # 3. Choose the number of bits of each row, [N] per layer.
        if criterion == "uniform":
            allocation = uniform(layers, bits, group_size, layer_bits)
        else:
            allocation = allocate(
                layers,
                calibration,
                bits,
                criterion,
                group_size,
                levels,
                layer_bits,
                bar.section(40),
                granularity,
            )
        # 4. Round and pack the weights.
        small = convert(layers, allocation, calibration, refine, bar.section(20))
    # 5. List what stays in float, and why. A tied matrix is listed for both layers.
    in_float = layers.in_float(allocation.bits)
    return Compression(small, allocation, bytes_of(small), bytes_of(model), in_float)


def _with_progress(batches: Iterable, progress: Callable[[float], None]) -> Iterator:
    count = len(batches) if isinstance(batches, Sized) else 0
    for i, batch in enumerate(batches):
        yield batch
        progress((i + 1) / max(count, i + 1) if count else 0.0)
    progress(1.0)


def convert(
    model: nn.Module | Layers,
    allocation: Allocation,
    calibration: Calibration | None = None,
    refine: bool = False,
    progress: Callable[[float], None] = lambda part: None,
) -> nn.Module:
    """Return a copy of the model with packed layers, in evaluation mode.

    Args:
        allocation: the number of bits for each row, from `allocate` or `uniform`.
        calibration: the statistics for GPTQ. Layers without statistics are rounded to
            nearest.
        refine: whether to add a 4-bit term that stores the rounding error of the base
            term.
        progress: a callback that receives the fraction completed so far, from 0 to 1.

    Raises:
        ValueError: if the allocation or the calibration is for a different model, or
            if the allocation contains 32-bit rows, which bit-planes cannot store.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> x = torch.rand(16, 64)
    >>> with torch.inference_mode():
    ...     difference = (packed(x) - net(x)).norm() / net(x).norm()
    >>> float(difference) < 0.2
    True
    """
    # 1. Round and pack: of the float32 copies, only one matrix's exist at a time.
    layers = _matching(model, allocation, calibration)
    new: dict[str, DPGLayer] = {}
    weights, converted = sum(layer.weight.numel() for layer in layers.values()), 0
    for name, layer in layers.items():
        codes = _codes(name, layer, allocation, calibration, allocation.bits[name])
        moment = _second_moment(name, calibration)
        matrix = pack_matrix(codes, weight_matrix(layer).cpu(), refine, moment)
        new[name] = packed_layer(layer, matrix).to(layer.weight.device)
        converted += layer.weight.numel()
        progress(converted / weights)
    # 2. A tied layer gets the matrix of the first one, which is saved only once.
    for name, first in layers.tied.items():
        new[name] = packed_layer(layers.uses[name], new[first].matrix)
        share_matrix(new[name], new[first])
    # 3. Copy the rest of the model, and move all planes together for the kernels.
    result = assemble(layers.model, new)
    gather(result)
    return result


def simulate(
    model: nn.Module | Layers,
    allocation: Allocation,
    calibration: Calibration | None = None,
) -> nn.Module:
    """Return a float copy of the model whose weights are rounded as in `convert`.

    This is the fastest way to compare allocations, because nothing is packed and
    activations are not rounded. 32-bit rows are left unchanged.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> allocation = dpg.uniform(net, bits=4)
    >>> x = torch.rand(2, 64)
    >>> packed, rounded = dpg.convert(net, allocation), dpg.simulate(net, allocation)
    >>> torch.allclose(packed(x), rounded(x), atol=1e-5)
    False
    """
    layers = _matching(model, allocation, calibration)
    result = copy.deepcopy(layers.model).eval()
    for name, layer in layers.items():
        # rows in float are rounded to 8 bits with the others, and then put back
        float_rows = allocation.bits[name] == FLOAT  # [N]
        bits = allocation.bits[name].masked_fill(float_rows, 8)
        weight = _codes(name, layer, allocation, calibration, bits).dequantize()
        weight[float_rows] = weight_matrix(layer).cpu()[float_rows]
        with torch.no_grad():
            parameter = result.get_submodule(name).get_parameter("weight")
            parameter.copy_(layer_weight(weight, layer))
    return result


def _matching(
    model: nn.Module | Layers, allocation: Allocation, calibration: Calibration | None
) -> Layers:
    """Return the layers that the allocation covers, all of which must have values."""
    layers = Layers.of(model)
    if calibration is not None:
        check_calibration(calibration, layers)
    sizes = {
        name: (len(bits), allocation.columns[name])
        for name, bits in allocation.bits.items()
    }
    layers = layers.matching(sizes, "allocation belongs")
    layers.refuse_meta()
    return layers


def _codes(
    name: str,
    layer: FloatLayer,
    allocation: Allocation,
    calibration: Calibration | None,
    bits: Tensor,
) -> Codes:
    group_size, moment = allocation.group_sizes[name], _second_moment(name, calibration)
    return quantize(weight_matrix(layer).cpu(), bits, group_size, moment)


def _second_moment(name: str, calibration: Calibration | None) -> Tensor | None:
    statistics = calibration.layers.get(name) if calibration else None
    return None if statistics is None else statistics.shrunk_moment
