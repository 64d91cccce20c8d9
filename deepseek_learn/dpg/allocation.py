"""Bits for rows: the most precision where it counts, under a budget of bytes.

Rows are sorted by damage and cut into blocks of 16. All blocks begin at the fewest
bits; then the step that removes most damage a byte is taken, again and again, until the
budget is spent (along each block's lower convex hull, so that greedy is optimal up to
the last step). Where the same bits for all would do less damage, all get the same.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from .calibration import Calibration, check_calibration
from .criteria import Layer, damage
from .matrix import (
    ROWS,
    Filter,
    bytes_of,
    group_size_for,
    matching_layers,
    named_layers,
    tied_layers,
    weight_matrix,
)
from .monitor import Groups
from .rounding import BITS

FLOAT = 32  # bits of a row that stays as it is


@dataclass(frozen=True)
class Allocation(Report):
    """The bits of every row.

    Attributes:
        bits: layer → int64 `[N]`.
        group_sizes: layer → weights that share a scale.
        columns: layer → K.
        damage: layer → what the criterion expects the chosen bits to cost.
        criterion: the strategy that chose, or "uniform".
        original_bytes: of the whole model, the weights of these layers in float32.
    """

    bits: dict[str, Tensor]
    group_sizes: dict[str, int]
    columns: dict[str, int]
    damage: dict[str, float]
    criterion: str
    original_bytes: int

    @property
    def average_bits(self) -> float:
        """Bits a weight, without scales."""
        weights = {n: len(b) * self.columns[n] for n, b in self.bits.items()}
        spent = sum(self.bits[n].double().mean().item() * w for n, w in weights.items())
        return spent / sum(weights.values())

    @property
    def stored_bytes(self) -> int:
        """Bytes of the whole model once converted: planes, scales, order, the rest.

        Rows of 32 bits (the guide's core group) count as float32 rows.
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
                total += stored * (padded * b // 8 + padded // size * 2 + 4)
        return total

    def counts(self) -> pd.DataFrame:
        """Rows of each layer at each number of bits."""
        used = sorted({b for bits in self.bits.values() for b in bits.tolist()})
        rows = {
            n: {b: int((bits == b).sum()) for b in used}
            for n, bits in self.bits.items()
        }
        return pd.DataFrame(rows).T.rename_axis("layer")

    def to_frame(self) -> pd.DataFrame:
        """One row a layer: its average bits, its rows at each number of bits."""
        frame = self.counts().add_suffix("_bits")
        frame.insert(
            0, "average", {n: b.double().mean().item() for n, b in self.bits.items()}
        )
        frame["damage"] = pd.Series(self.damage)
        return frame

    def plot(self):
        """Share of rows at each number of bits, a bar a layer (plotly)."""
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
        means = {n: b.double().mean().item() for n, b in self.bits.items()}
        most, least = max(means.values()), min(means.values())
        kind = "sensitivity" if self.criterion == "sensitivity" else "other"
        return text(
            f"dpg.allocation_{kind}",
            criterion=self.criterion,
            average=self.average_bits,
            most=_with(most, means),
            most_bits=most,
            least=_with(least, means),
            least_bits=least,
        )


def _with(bits: float, means: Mapping[str, float]) -> str:
    """The layers that have so many bits: the first three, and how many more."""
    names = [name for name, mean in means.items() if mean == bits]
    more = f" (+{len(names) - 3})" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def allocate(
    model: nn.Module,
    calibration: Calibration,
    bits: float = 4.0,
    criterion: str = "sensitivity",
    group_size: int = 64,
    levels: tuple[int, ...] = BITS,
    layer_bits: Mapping[str, int] | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> Allocation:
    """Give bits to blocks of 16 rows under a budget of `bits` a stored weight.

    Args:
        bits: the budget, 2 to 8, without the scales (16 / group_size a weight more).
        criterion: a name in `dpg.grouping`, or "uniform".
        group_size: 32, 64 or 128; a layer for which 32 pads less gets 32.
        levels: the numbers of bits that may be given.
        layer_bits: names of layers, or patterns such as "*.attention.*" → the bits of
            all their rows. The first that fits counts; the budget is for the others.
        progress: called with the part done, 0..1.

    Raises:
        ValueError: for a budget outside of the levels, a calibration of another model,
            bits of a layer that are no level, or a pattern that fits no layer.
        UnknownNameError: naming the criteria there are.
    """
    levels = tuple(sorted(set(levels)))
    check_budget(bits, levels)
    check_group_size(group_size)
    if criterion == "uniform":
        return uniform(model, bits, group_size, layer_bits)
    layers = check_calibration(calibration, model)
    fixed = _fixed(model, layers, layer_bits)
    free, given, total = [], {}, {}
    columns = {n: weight_matrix(layer).shape[1] for n, layer in layers.items()}
    sizes = {n: group_size_for(columns[n], group_size) for n in layers}
    weights, done = sum(layer.weight.numel() for layer in layers.values()), 0
    for name, layer in layers.items():
        of_layer = (fixed[name],) if name in fixed else levels
        weight = weight_matrix(layer).cpu()
        facts = Layer(name, weight, calibration.layers[name], of_layer, sizes[name])
        costs = damage(criterion, facts)
        given[name] = torch.full((len(weight),), of_layer[0])
        total[name] = costs[0].sum().item() if name in fixed else 0.0
        if name not in fixed:
            free += _blocks(name, costs, columns[name], sizes[name])
        done += weight.numel()
        progress(done / weights)
    for block, level in zip(free, _greedy(free, levels, bits), strict=True):
        given[block.layer][block.rows] = levels[level]
        total[block.layer] += block.damage[level].item()
    return Allocation(given, sizes, columns, total, criterion, _bytes(model, layers))


def uniform(
    model: nn.Module,
    bits: int,
    group_size: int = 64,
    layer_bits: Mapping[str, int] | None = None,
    filter: Filter | None = None,
) -> Allocation:
    """The same bits for every row.

    Args:
        layer_bits: other bits for some layers, see `allocate`.
        filter: `filter(name, layer)` says which layers; the others stay in float.

    Raises:
        ValueError: for bits that are none of 2, 3, 4, 5, 6, 8.
    """
    if bits not in BITS:
        raise ValueError(f"uniform bits must be one of {BITS}; got {bits!r}.")
    check_group_size(group_size)
    layers = named_layers(model, filter)
    fixed = _fixed(model, layers, layer_bits)
    columns = {n: weight_matrix(layer).shape[1] for n, layer in layers.items()}
    return Allocation(
        {
            n: torch.full((len(layer.weight),), int(fixed.get(n, bits)))
            for n, layer in layers.items()
        },
        {n: group_size_for(columns[n], group_size) for n in layers},
        columns,
        dict.fromkeys(layers, float("nan")),
        "uniform",
        _bytes(model, layers),
    )


def _fixed(model, layers, layer_bits: Mapping[str, int] | None) -> dict[str, int]:
    """Layer → its bits, for those that `layer_bits` names."""
    fixed: dict[str, int] = {}
    for pattern, bits in (layer_bits or {}).items():
        if isinstance(bits, bool) or bits not in BITS:
            raise ValueError(f"layer_bits must be of {BITS}; {pattern!r} has {bits!r}.")
        names = {n: n for n in layers} | tied_layers(model)
        fitting = {names[n] for n in fnmatch.filter(names, pattern)} & layers.keys()
        if not fitting:
            raise ValueError(
                f"layer_bits must name layers of the model; {pattern!r} fits none of "
                f"{len(layers)}, such as {next(iter(layers))!r}."
            )
        fixed = dict.fromkeys(fitting, bits) | fixed
    return fixed


def by_groups(
    model: nn.Module,
    groups: Groups,
    core: int = FLOAT,
    medium: int = 4,
    low: int = 2,
    group_size: int = 64,
) -> Allocation:
    """The guide's way: each activity group its own bits, core in full precision.

    With rows of 32 bits the allocation can be simulated and its bytes counted, but not
    converted: planes hold at most 8.

    Raises:
        ValueError: for groups of another model, or bits that are none of these.
    """
    check_group_size(group_size)
    if {core, medium, low} - {*BITS, FLOAT}:
        raise ValueError(
            f"core, medium and low must be of {(*BITS, FLOAT)} bits; got "
            f"{[core, medium, low]}."
        )
    chosen = torch.tensor([core, medium, low], dtype=torch.int64)
    sizes = {name: (len(group),) for name, group in groups.group.items()}
    layers = matching_layers(model, sizes, "groups are")
    columns = {n: weight_matrix(layer).shape[1] for n, layer in layers.items()}
    return Allocation(
        {name: chosen[group] for name, group in groups.group.items()},
        {n: group_size_for(columns[n], group_size) for n in layers},
        columns,
        dict.fromkeys(layers, float("nan")),
        "groups",
        _bytes(model, layers),
    )


def check_budget(bits: float, levels: tuple[int, ...] = BITS) -> None:
    """Refuse a budget that no choice of levels reaches."""
    if not levels or set(levels) - set(BITS):
        raise ValueError(f"levels must be some of {BITS}; got {levels}.")
    if not isinstance(bits, int | float) or not levels[0] <= bits <= levels[-1]:
        raise ValueError(
            f"bits must be a budget from {levels[0]} to {levels[-1]} bits a weight; "
            f"got {bits!r}."
        )


def check_group_size(group_size: int) -> None:
    """Refuse a group size that the kernels do not know."""
    if not isinstance(group_size, int) or group_size not in (32, 64, 128):
        raise ValueError(f"group_size must be 32, 64 or 128; got {group_size!r}.")


def _bytes(model: nn.Module, layers: dict[str, nn.Module]) -> int:
    """Bytes of the model, with the weights to compress counted as float32."""
    weights = [layer.weight for layer in layers.values()]
    return bytes_of(model) + sum(w.numel() * (4 - w.element_size()) for w in weights)


@dataclass(frozen=True)
class _Block:
    """Up to 16 rows of one layer that get the same bits."""

    layer: str
    rows: Tensor  # [<= 16]
    damage: Tensor  # [levels]
    weights: int  # stored: padding costs bytes too


def _blocks(name: str, damage: Tensor, columns: int, group_size: int) -> list[_Block]:
    order = damage[0].argsort(descending=True, stable=True)
    stored = ROWS * ceil(columns / group_size) * group_size
    return [
        _Block(name, rows, damage[:, rows].sum(1), stored) for rows in order.split(ROWS)
    ]


def _greedy(blocks: list[_Block], levels: tuple[int, ...], bits: float) -> list[int]:
    """The level of each block."""
    steps = [(*step, i) for i, b in enumerate(blocks) for step in _hull(b, levels)]
    steps.sort(key=lambda step: -step[0])
    chosen = [0] * len(blocks)
    stored = sum(block.weights for block in blocks)
    left = (bits - levels[0]) * stored + 1e-6
    for _, level, i in steps:  # a block's steps come in order: its hull is convex
        cost = (levels[level] - levels[chosen[i]]) * blocks[i].weights
        if cost <= left:
            chosen[i], left = level, left - cost
    # what is left of the budget may be worth more than all that greedy gained
    even = [max(i for i, b in enumerate(levels) if b <= bits)] * len(blocks)
    return min(chosen, even, key=lambda choice: _damage(blocks, choice))


def _damage(blocks: list[_Block], choice: list[int]) -> float:
    return sum(b.damage[level].item() for b, level in zip(blocks, choice, strict=True))


def _hull(block: _Block, levels: tuple[int, ...]):
    """The steps (damage removed a bit, level) along the lower convex hull."""
    damage, level = block.damage.tolist(), 0
    while level + 1 < len(levels):
        slopes = {
            up: (damage[level] - damage[up])
            / ((levels[up] - levels[level]) * block.weights)
            for up in range(level + 1, len(levels))
        }
        level = max(slopes, key=lambda up: (slopes[up], up))
        if slopes[level] < 0:  # a learner's own criterion may see harm in more bits
            return
        yield slopes[level], level
