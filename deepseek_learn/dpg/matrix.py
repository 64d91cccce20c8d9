"""Treat layers as matrix products for calibration, rounding and packing.

A linear layer computes y = W x, where the rows of x are tokens. A convolution
(ungrouped, in 1, 2 or 3 dimensions) computes the same product with image patches as
rows. Its :math:`W` has shape `[N, K]`, where K is the number of kernel positions times
the number of channels. The channels come last, so a patch of a channels-last image can
be copied in contiguous runs. An embedding looks up rows of its :math:`W`, also of shape
`[N, K]`, instead of multiplying by it. Several layers can share a matrix, such as the
embedding and the tied head of a language model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import geometry, padded, patches

ROWS = 16  # rows with the same bits; they fill one vector register of the kernels
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
FloatLayer = nn.Linear | nn.Embedding | Convolution
Filter = Callable[[str, nn.Module], bool]


class CompressedLayer(nn.Module):
    """Base class that marks a layer as already compressed."""


def is_supported(layer: nn.Module) -> TypeGuard[FloatLayer]:
    """Check whether `layer` can be compressed.

    Linear layers, embeddings, and ungrouped convolutions are supported. Subclasses are
    not supported, because they may compute something else. Layers whose weight is
    computed by a hook on each call (as in pruning and weight normalization) and
    embeddings that rescale their rows (`max_norm`) are not supported either.
    """
    if "weight" not in layer._parameters:
        return False
    if isinstance(layer, CONVOLUTIONS) and type(layer) in CONVOLUTIONS:
        return layer.groups == 1
    if type(layer) is nn.Embedding:
        return layer.max_norm is None
    return type(layer) is nn.Linear


def weight_matrix(layer: FloatLayer) -> Tensor:
    """Return the weight of a layer as a float32 matrix of shape `[N, K]`."""
    weight = layer.weight.detach().float()  # [N, C, *kernel] for a convolution
    return weight.movedim(1, -1).reshape(len(weight), -1)


def matrix_shape(layer: FloatLayer) -> tuple[int, int]:
    """Return the shape `[N, K]` of `weight_matrix(layer)` without computing it."""
    rows, *rest = layer.weight.shape
    return rows, prod(rest)


def layer_weight(matrix: Tensor, layer: FloatLayer) -> Tensor:
    """Convert an `[N, K]` matrix to the shape and dtype of the layer's weight."""
    weight = layer.weight
    shape = (len(weight), *weight.shape[2:], weight.shape[1])  # [N, *kernel, C]
    return matrix.reshape(shape).movedim(-1, 1).to(weight.dtype)


def linear_of(weight: nn.Parameter, bias: nn.Parameter | None = None) -> nn.Linear:
    """Return the linear layer that has a weight of shape `[N, K]` and a bias `[N]`."""
    rows, columns = weight.shape
    layer = nn.Linear(columns, rows, bias is not None, device="meta")
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer


def input_rows(layer: FloatLayer, x: Tensor) -> Tensor:
    """Reshape the input of a layer to rows of shape `[M, K]`, to be multiplied by W.

    The input has shape `[..., K]`, or `[B, C, *size]` for a convolution.
    """
    if not isinstance(layer, CONVOLUTIONS):
        return x.reshape(-1, x.shape[-1])
    return patches(padded(layer, x), *geometry(layer))


def output_rows(layer: FloatLayer, y: Tensor) -> Tensor:
    """Reshape the output of a layer to rows of shape `[M, N]`.

    The output has shape `[..., N]`, or `[B, N, *size]` for a convolution.
    """
    if isinstance(layer, CONVOLUTIONS):
        y = y.movedim(1, -1)
    return y.reshape(-1, y.shape[-1])


def group_size_for(columns: int, wanted: int) -> int:
    """Return `wanted`, or 32 if groups of 32 need less padding per row."""
    return min((wanted, 32), key=lambda g: (ceil(columns / g) * g, -g))


def pad_columns(matrix: Tensor, group_size: int) -> Tensor:
    """Pad each row with zeros to a multiple of the group size."""
    return F.pad(matrix, (0, -matrix.shape[1] % group_size))


@dataclass(frozen=True, eq=False)
class Layers(Mapping[str, FloatLayer]):
    """The layers of a model that can be compressed, one per weight matrix.

    It maps names to layers, and is made once and passed from step to step: all functions
    that take a model take its `Layers` as well.

    If several layers share a weight, the mapping contains the first layer that
    multiplies by it (for example, the tied head rather than the embedding), or the
    first layer if none of them does.

    Attributes:
        model: the model that the layers belong to.
        layers: the selected layers.
        uses: the same layers and the layers tied to them.
        tied: maps each tied layer to the layer in `layers` that has the same matrix.
        reasons: maps each module with a weight matrix to the reason why it stays in
            float if its matrix is not packed. The matrix can be any parameter, such as
            the `in_proj_weight` of an attention module, the `weight_hh_l0` of an LSTM
            (see `stepwise`), or a table of position embeddings.

    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Bilinear(32, 8, 4))
    >>> layers = dpg.Layers.of(net)
    >>> list(layers), layers.in_float()
    (['0'], {'2': 'kind'})
    """

    model: nn.Module
    layers: dict[str, FloatLayer]
    uses: dict[str, FloatLayer]
    tied: dict[str, str]
    reasons: dict[str, str]

    @classmethod
    def of(cls, model: "nn.Module | Layers", filter: Filter | None = None) -> "Layers":
        """Find the layers of a model that can be compressed.

        Args:
            filter: a function `filter(name, layer)` that selects layers.

        Raises:
            TypeError: if `model` is not a module.
            ValueError: if the model has no layer to compress, if it is already
                compressed, or if `filter` selects no layer.
        """
        if isinstance(model, Layers):
            return model if filter is None else model._filtered(filter)
        model = uncompiled(model)
        # 1. Walk the model once, and list the modules that use each parameter.
        modules = dict(model.named_modules())
        _refuse_compressed(model, modules.values())
        users: dict[int, list[str]] = {}  # id of a parameter → module names
        for name, module in modules.items():
            for key in {id(parameter) for parameter in module._parameters.values()}:
                users.setdefault(key, []).append(name)
        # 2. A matrix can be packed if nothing but supported layers uses it. An embedding
        # comes last, so that a tied matrix is named after the layer that multiplies.
        matrices = [
            sorted(names, key=lambda name: isinstance(modules[name], nn.Embedding))
            for key, names in users.items()
            if all(_multiplies_by(modules[name], key) for name in names)
        ]
        if not matrices:
            raise ValueError(
                f"model has no layer to compress: {type(model).__name__} holds no "
                f"linear layer, no embedding and no convolution (groups=1) with a "
                f"weight that only such layers use."
            )
        # 3. Note why each of the other matrices stays in float.
        shared = {key for key, names in users.items() if len(names) > 1}
        packable = {name: names[0] for names in matrices for name in names}
        reasons = {
            name: "unused" if name in packable else _reason(module, shared)
            for name, module in modules.items()
            if name in packable or any(map(_is_matrix, module._parameters.values()))
        }
        uses = {name: _supported(modules[name]) for name in packable}
        layers = {names[0]: uses[names[0]] for names in matrices}
        tied = {name: first for name, first in packable.items() if name != first}
        return cls.of(cls(model, layers, uses, tied, reasons), filter)

    def _filtered(self, filter: Filter) -> "Layers":
        names = [name for name, layer in self.items() if filter(name, layer)]
        if not names:
            expected = "filter must select at least one layer"
            raise ValueError(f"{expected}; it selected none of {len(self)}.")
        return self._only(names, "filtered")

    def _only(self, names: Iterable[str], reason: str) -> "Layers":
        """Return the table of some of the layers; `reason` is why the others are not."""
        layers = {name: self[name] for name in names}
        uses = {
            name: layer
            for name, layer in self.uses.items()
            if self.tied.get(name, name) in layers
        }
        tied = {name: first for name, first in self.tied.items() if name in uses}
        others = dict.fromkeys(self.uses.keys() - uses.keys(), reason)
        return Layers(self.model, layers, uses, tied, self.reasons | others)

    def __getitem__(self, name: str) -> FloatLayer:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def users(self, name: str) -> list[str]:
        """Return the names of all layers that use the matrix of layer `name`."""
        return [name, *(n for n, first in self.tied.items() if first == name)]

    def matching(self, sizes: Mapping[str, tuple[int, ...]], what: str) -> "Layers":
        """Return the table of the layers that a calibration, allocation or grouping covers.

        Args:
            sizes: maps each layer name to its recorded size, which is N, or N and K.
            what: the first words of the error message, such as "calibration belongs".

        Raises:
            ValueError: if one of the layers is missing from the model or has a
                different size.
        """
        for name, size in sizes.items():
            shape = matrix_shape(self[name]) if name in self else ()
            if tuple(size) != shape[: len(size)]:
                raise ValueError(
                    f"{what} to another model: layer {name!r} is missing or has a "
                    f"different size."
                )
        return self._only(sizes, "unused")

    def in_float(self, packed: Iterable[str] | None = None) -> dict[str, str]:
        """Explain why each uncompressed weight matrix stays in float, by module name.

        Args:
            packed: the names of the compressed layers; all selected layers if None.
        """
        packed = self.keys() if packed is None else set(packed)
        return {
            name: reason
            for name, reason in self.reasons.items()
            if self.tied.get(name, name) not in packed
        }

    def refuse_meta(self) -> None:
        """Raise ValueError if a parameter of the model has no values."""
        empty = [name for name, p in self.model.named_parameters() if p.is_meta]
        if empty:
            raise ValueError(
                f"model must have values, but {empty[0]!r} is on the meta device: load "
                f"the trained weights first, for example with "
                f"model.load_state_dict(weights, assign=True)."
            )


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the model that `torch.compile` wrapped, whose layers have its own names.

    Raises:
        TypeError: if `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got a {type(model).__name__}.")
    return getattr(model, "_orig_mod", model)


def named_layers(
    model: nn.Module, filter: Filter | None = None
) -> dict[str, FloatLayer]:
    """Return the layers that can be compressed as a dictionary (see `Layers`)."""
    return dict(Layers.of(model, filter))


def _multiplies_by(module: nn.Module, key: int) -> bool:
    return is_supported(module) and id(module.weight) == key


def _supported(layer: nn.Module) -> FloatLayer:
    assert is_supported(layer)
    return layer


def _refuse_compressed(model: nn.Module, modules: Iterable[nn.Module]) -> None:
    if any(isinstance(module, CompressedLayer) for module in modules):
        raise ValueError(
            f"model must be the float model; this {type(model).__name__} is already "
            f"DPG-compressed. Pass the model that it was compressed from."
        )


def _is_matrix(weight: Tensor | None) -> bool:
    return weight is not None and sum(size > 1 for size in weight.shape) >= 2


def _reason(module: nn.Module, shared: set[int]) -> str:
    matrices = filter(_is_matrix, module._parameters.values())
    if any(id(weight) in shared for weight in matrices):
        return "tied"
    return "grouped" if isinstance(module, CONVOLUTIONS) else "kind"


def own_bytes(module: nn.Module) -> int:
    """Count the bytes of a module's parameters and buffers, excluding submodules."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return sum(tensor.nbytes for tensor in tensors)


def bytes_of(model: nn.Module) -> int:
    """Count the bytes of all parameters and buffers, counting each tensor once.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> dpg.bytes_of(torch.nn.Linear(64, 32))  # 4 * (64 * 32 + 32)
    8320
    """
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def is_finite(x: Tensor) -> bool:
    """Check whether `x` contains neither NaN nor infinity."""
    # The sum is one number instead of a mask; only if it overflows does each one count.
    return bool(torch.isfinite(x.sum()) or torch.isfinite(x).all())


def check_finite(x: Tensor, what: str) -> None:
    """Raise ValueError if `x` contains NaN or infinity."""
    if not is_finite(x):
        raise ValueError(f"{what} must be finite numbers; got NaN or infinity.")


def recomputing() -> bool:
    """Check whether a layer runs in a backward pass, as in `torch.utils.checkpoint`.

    Such a call repeats one that was counted in the forward pass.
    """
    return torch._C._current_graph_task_id() != -1
