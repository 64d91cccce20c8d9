"""Allocate bits to the rows of weight matrices under a size budget.

There are three ways to choose them. `allocate` minimizes the damage of rounding and uses
`knapsack` to spend the budget, `uniform` gives every row the same number of bits, and
`by_groups` follows activity groups.

Lesson: `notebooks/basic/04b_bit_allocation.ipynb`.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from .calibration import Calibration, check_calibration
from .codes import BITS, check_group_size
from .criteria import Layer, damage
from .groups import Groups
from .knapsack import RowBlock, blocks_of, check_budget, check_granularity, fill
from .matrix import (
    ROWS,
    Filter,
    Layers,
    bytes_of,
    group_size_for,
    matrix_shape,
    weight_matrix,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

FLOAT = 32  # the bit width that marks rows in float32


@dataclass(frozen=True)
class Allocation(Report):
    """The number of bits assigned to each row of a model.

    Attributes:
        bits: maps each layer name to the bits of its rows, an int64 tensor of shape
            `[N]`.
        group_sizes: maps each layer name to the number of weights that share a scale.
        columns: maps each layer name to the number of columns K of its weight matrix.
        damage: maps each layer name to the damage that the criterion estimates.
        criterion: the name of the criterion, or "uniform" or "groups".
        original_bytes: the size of the whole model in bytes, with these layers' weights
            in float32.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> allocation = dpg.uniform(torch.nn.Linear(64, 32), bits=4)
    >>> allocation.bits[""].unique().tolist(), allocation.original_bytes
    ([4], 8320)
    """

    bits: dict[str, Tensor]
    group_sizes: dict[str, int]
    columns: dict[str, int]
    damage: dict[str, float]
    criterion: str
    original_bytes: int

    @property
    def average_bits(self) -> float:
        """The average number of bits per weight, excluding the scales."""
        weights = {n: len(b) * self.columns[n] for n, b in self.bits.items()}
        total = sum(mean * weights[name] for name, mean in self._means.items())
        return total / sum(weights.values())

    @property
    def _means(self) -> dict[str, float]:
        return {name: bits.double().mean().item() for name, bits in self.bits.items()}

    @property
    def stored_bytes(self) -> int:
        """The size of the converted model in bytes.

        The size includes the bit-planes, the scales, the row order, and all tensors
        that stay in float. 32-bit rows (the core group in the guide) are counted as
        float32.
        """
        total = self.original_bytes
        for name, bits in self.bits.items():
            columns, size = self.columns[name], self.group_sizes[name]
            padded = ceil(columns / size) * size
            total -= len(bits) * columns * 4
            for b, rows in zip(*bits.unique(return_counts=True), strict=True):
                b, rows = int(b), int(rows)
                if b == FLOAT:
                    total += rows * columns * 4
                    continue
                stored = ceil(rows / ROWS) * ROWS
                # per stored row: the planes, a bfloat16 scale per group, its int32 index
                total += stored * (padded * b // 8 + padded // size * 2 + 4)
        return total

    def counts(self) -> pd.DataFrame:
        """Count the rows in each layer at each bit width."""
        widths = sorted({b for bits in self.bits.values() for b in bits.tolist()})
        rows = {
            n: {b: int((bits == b).sum()) for b in widths}
            for n, bits in self.bits.items()
        }
        return pd.DataFrame(rows).T.rename_axis("layer")

    def to_frame(self) -> pd.DataFrame:
        """Tabulate the average bits, the row counts and the damage of each layer."""
        frame = self.counts().add_suffix("_bits")
        frame.insert(0, "average", self._means)
        frame["damage"] = pd.Series(self.damage)
        return frame

    def plot(self) -> "go.Figure":
        """Plot the fraction of rows at each bit width, one bar per layer (plotly)."""
        import plotly.graph_objects as go

        shares = self.counts().div(self.counts().sum(axis=1), axis=0)
        colors = ("#f2e9d8", "#d9c6a0", "#9fc2c9", "#5b9aa8", "#2b6c80", "#12394a")
        figure = go.Figure()
        for bits in shares:
            name = text("dpg.bits", bits=bits)
            color = colors[BITS.index(bits)] if bits in BITS else "#000000"
            figure.add_bar(
                x=shares.index, y=shares[bits], name=name, marker_color=color
            )
        figure.update_yaxes(title=text("dpg.share_of_rows"), tickformat=".0%")
        return figure.update_layout(barmode="stack", template="plotly_white")

    def why(self) -> str:
        means = self._means
        most, least = max(means.values()), min(means.values())
        kind = "sensitivity" if self.criterion == "sensitivity" else "other"
        return text(
            f"dpg.allocation_{kind}",
            criterion=self.criterion,
            average=self.average_bits,
            most=_layers_with(most, means),
            most_bits=most,
            least=_layers_with(least, means),
            least_bits=least,
        )


def _layers_with(bits: float, means: Mapping[str, float]) -> str:
    """List up to three layers with this average, and state how many more there are."""
    names = [name for name, mean in means.items() if mean == bits]
    suffix = f" (+{len(names) - 3})" if len(names) > 3 else ""
    return ", ".join(names[:3]) + suffix


def allocate(
    model: nn.Module | Layers,
    calibration: Calibration,
    bits: float = 4.0,
    criterion: str = "sensitivity",
    group_size: int = 64,
    levels: tuple[int, ...] = BITS,
    layer_bits: Mapping[str, int] | None = None,
    progress: Callable[[float], None] = lambda part: None,
    granularity: str = "rows",
) -> Allocation:
    """Allocate bits to blocks of rows, within a budget of `bits` per stored weight.

    Args:
        bits: the average number of bits per stored weight, from 2 to 8. This excludes
            the scales, which add another 16 / group_size bits per weight.
        criterion: the name of a criterion in `dpg.grouping`, or "uniform".
        group_size: the number of weights that share a scale: 32, 64 or 128. Layers that
            need less padding with groups of 32 use 32 instead.
        levels: the allowed bit widths.
        layer_bits: maps layer names, or patterns such as "*.attention.*", to the bit
            width of all rows in the matching layers. If several patterns match a layer,
            the first one applies. The budget covers only the remaining layers.
        progress: a callback that receives the fraction completed so far, from 0 to 1.
        granularity: "rows" for blocks of 16 rows, or "layer" for one bit width per
            layer, as formats need that have one type per tensor (GGUF).

    Raises:
        ValueError: if the budget is outside the range of `levels`, if the calibration
            is for a different model, if `layer_bits` has an unsupported bit width or a
            pattern that matches no layer, or if `granularity` is unknown.
        UnknownNameError: if the criterion is unknown. The message lists the known ones.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> calibration = dpg.calibrate(net, [torch.rand(16, 64) for _ in range(4)])
    >>> allocation = dpg.allocate(net, calibration, bits=4, layer_bits={"2": 8})
    >>> allocation.bits["2"].tolist()
    [8, 8, 8, 8, 8, 8, 8, 8]
    """
    # 1. Determine the levels, the layers with preset bits, and the group sizes.
    levels = tuple(sorted(set(levels)))
    check_budget(bits, levels)
    check_group_size(group_size)
    check_granularity(granularity)
    if criterion == "uniform":
        return uniform(model, bits, group_size, layer_bits)
    layers = check_calibration(calibration, model)
    fixed = _fixed(layers, layer_bits)
    columns, sizes = _sizes(layers, group_size)
    weights, scored = sum(layer.weight.numel() for layer in layers.values()), 0
    blocks: list[RowBlock] = []
    row_bits, total = {}, {}
    for name, layer in layers.items():
        # 2. Compute the damage to each row at each level, which is the slowest step.
        layer_levels = (fixed[name],) if name in fixed else levels
        weight = weight_matrix(layer).cpu()  # [N, K]
        facts = weight, calibration.layers[name], layer_levels, sizes[name]
        costs = damage(criterion, Layer(name, *facts))  # [levels, N]
        # 3. Start at the lowest level. Preset bits are final and not of the budget.
        row_bits[name] = torch.full((len(weight),), layer_levels[0])  # [N]
        total[name] = costs[0].sum().item() if name in fixed else 0.0
        if name not in fixed:
            shape = columns[name], sizes[name]
            blocks += blocks_of(name, costs, *shape, whole=granularity == "layer")
        scored += weight.numel()
        progress(scored / weights)
    # 4. Spend the budget on the blocks of all layers.
    for block, level in zip(blocks, fill(blocks, levels, bits), strict=True):
        row_bits[block.layer][block.rows] = levels[level]
        total[block.layer] += block.damage[level].item()
    return Allocation(row_bits, sizes, columns, total, criterion, _bytes(layers))


def uniform(
    model: nn.Module | Layers,
    bits: float,
    group_size: int = 64,
    layer_bits: Mapping[str, int] | None = None,
    filter: Filter | None = None,
) -> Allocation:
    """Allocate the same number of bits to every row.

    Args:
        layer_bits: overrides `bits` for individual layers (see `allocate`).
        filter: a function `filter(name, layer)` that selects the layers to quantize.
            The other layers stay in float.

    Raises:
        ValueError: if `bits` is not 2, 3, 4, 5, 6 or 8.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 8))
    >>> dpg.uniform(net, bits=3, layer_bits={"1": 8}).bits["1"].tolist()
    [8, 8, 8, 8, 8, 8, 8, 8]
    """
    if bits not in BITS:
        raise ValueError(f"uniform bits must be one of {BITS}; got {bits!r}.")
    check_group_size(group_size)
    layers = Layers.of(model, filter)
    fixed = _fixed(layers, layer_bits)
    row_bits = {
        n: torch.full((len(layer.weight),), int(fixed.get(n, bits)))
        for n, layer in layers.items()
    }
    return _preset(layers, row_bits, group_size, "uniform")


def _fixed(layers: Layers, layer_bits: Mapping[str, int] | None) -> dict[str, int]:
    """Return the bit width of each layer that matches an entry in `layer_bits`."""
    fixed: dict[str, int] = {}
    for pattern, bits in (layer_bits or {}).items():
        if isinstance(bits, bool) or bits not in BITS:
            raise ValueError(
                f"values of layer_bits must be one of {BITS}; got {bits!r} for "
                f"{pattern!r}."
            )
        names = fnmatch.filter(layers.uses, pattern)
        matches = {layers.tied.get(name, name) for name in names}
        if not matches:
            raise ValueError(
                f"layer_bits must name layers of the model, but {pattern!r} matches "
                f"none of its {len(layers)} layers ({next(iter(layers))!r}, ...)."
            )
        fixed = dict.fromkeys(matches, bits) | fixed
    return fixed


def by_groups(
    model: nn.Module | Layers,
    groups: Groups,
    core: int = FLOAT,
    medium: int = 4,
    low: int = 2,
    group_size: int = 64,
) -> Allocation:
    """Allocate bits to neurons by activity group, as in the guide.

    By default, the core group stays in full precision. `simulate` accepts an allocation
    with 32-bit rows, and its size can be computed, but `convert` rejects it because
    bit-planes hold at most 8 bits.

    Raises:
        ValueError: if the groups are for a different model, or if a bit width is
            unsupported.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> with dpg.DynamicParameterGroup(net) as watch:
    ...     y = net(torch.rand(16, 64))
    >>> allocation = dpg.by_groups(net, watch.groups(), core=8, medium=4, low=2)
    >>> set(allocation.bits["0"].tolist()) <= {2, 4, 8}
    True
    """
    check_group_size(group_size)
    if {core, medium, low} - {*BITS, FLOAT}:
        raise ValueError(
            f"core, medium and low must each be one of {(*BITS, FLOAT)} bits; got "
            f"{[core, medium, low]}."
        )
    group_bits = torch.tensor([core, medium, low], dtype=torch.int64)
    sizes = {name: (len(group),) for name, group in groups.group.items()}
    layers = Layers.of(model).matching(sizes, "groups belong")
    row_bits = {name: group_bits[group] for name, group in groups.group.items()}
    return _preset(layers, row_bits, group_size, "groups")


def _preset(
    layers: Layers, bits: dict[str, Tensor], group_size: int, kind: str
) -> Allocation:
    """Return an allocation that no criterion scored, so that its damage is NaN."""
    columns, sizes = _sizes(layers, group_size)
    damage = dict.fromkeys(layers, float("nan"))
    return Allocation(bits, sizes, columns, damage, kind, _bytes(layers))


def _sizes(layers: Layers, group_size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of columns and the group size of each layer."""
    columns = {name: matrix_shape(layer)[1] for name, layer in layers.items()}
    return columns, {n: group_size_for(k, group_size) for n, k in columns.items()}


def _bytes(layers: Layers) -> int:
    """Compute the size of the model in bytes, counting `layers` as float32."""
    weights = [layer.weight for layer in layers.values()]
    added = sum(w.numel() * (4 - w.element_size()) for w in weights)
    return bytes_of(layers.model) + added
