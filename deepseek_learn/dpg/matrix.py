"""Treat layers as matrix products for calibration, rounding and packing.

A linear layer computes y = W x, where the rows of x are tokens. A convolution
(ungrouped, in 1, 2 or 3 dimensions) computes the same product with image patches as
rows. Its :math:`W` has shape `[N, K]`, where K is the number of kernel positions times
the number of channels. The channels come last, so a patch of a channels-last image can
be copied in contiguous runs. An embedding looks up rows of its :math:`W`, also of shape
`[N, K]`, instead of multiplying by it. Several layers can share a matrix, such as the
embedding and the tied head of a language model.
"""

from collections.abc import Callable, Iterable, Mapping
from math import ceil
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


def layer_weight(matrix: Tensor, layer: FloatLayer) -> Tensor:
    """Convert an `[N, K]` matrix to the shape and dtype of the layer's weight."""
    weight = layer.weight
    shape = (len(weight), *weight.shape[2:], weight.shape[1])  # [N, *kernel, C]
    return matrix.reshape(shape).movedim(-1, 1).to(weight.dtype)


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


def named_layers(
    model: nn.Module, filter: Filter | None = None
) -> dict[str, FloatLayer]:
    """Return a dictionary of the layers that can be compressed, one per matrix.

    If several layers share a weight, the dictionary contains the first layer that
    multiplies by it (for example, the tied head rather than the embedding), or the
    first layer if none of them does. `tied_layers` returns the others. A weight that is
    also used by an unsupported module is skipped, and `left_in_float` reports it.

    Args:
        filter: a function `filter(name, layer)` that selects layers.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if the model has no layer to compress, if it is already compressed,
            or if `filter` selects no layer.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got a {type(model).__name__}.")
    _refuse_compressed(model)
    layers = {names[0]: float_layer(model, names[0]) for names in _matrices(model)}
    if not layers:
        raise ValueError(
            f"model has no layer to compress: {type(model).__name__} holds no linear "
            f"layer, no embedding and no convolution (groups=1) with a "
            f"weight that only such layers use."
        )
    if filter is None:
        return layers
    selection = {name: layer for name, layer in layers.items() if filter(name, layer)}
    if not selection:
        raise ValueError(
            f"filter must select at least one layer; it selected none of {len(layers)}."
        )
    return selection


def float_layer(model: nn.Module, name: str) -> FloatLayer:
    """Return the layer with the given name, which must be supported."""
    layer = model.get_submodule(name)
    assert is_supported(layer)
    return layer


def tied_layers(model: nn.Module) -> dict[str, str]:
    """Map each tied layer to the layer in `named_layers` that has the same matrix."""
    return {name: first for first, *others in _matrices(model) for name in others}


def _matrices(model: nn.Module) -> list[list[str]]:
    """Return the names of the layers that use each packable matrix."""
    modules = dict(model.named_modules())
    users: dict[int, list[str]] = {}  # parameter → module names
    for name, module in modules.items():
        for parameter in module._parameters.values():
            users.setdefault(id(parameter), []).append(name)
    return [
        sorted(names, key=lambda name: isinstance(modules[name], nn.Embedding))
        for key, names in users.items()
        if all(_holds(modules[name], key) for name in names)
    ]


def _holds(module: nn.Module, key: int) -> bool:
    return is_supported(module) and id(module.weight) == key


def _refuse_compressed(model: nn.Module) -> None:
    if any(isinstance(module, CompressedLayer) for module in model.modules()):
        raise ValueError(
            f"model must be the float model; this {type(model).__name__} is already "
            f"DPG-compressed. Pass the model that it was compressed from."
        )


def refuse_meta(model: nn.Module) -> None:
    """Raise ValueError if a parameter of the model has no values."""
    empty = [name for name, p in model.named_parameters() if p.is_meta]
    if empty:
        raise ValueError(
            f"model must have values, but {empty[0]!r} is on the meta device: load the "
            f"trained weights first, for example with "
            f"model.load_state_dict(weights, assign=True)."
        )


def matching_layers(
    model: nn.Module, sizes: Mapping[str, tuple[int, ...]], what: str
) -> dict[str, FloatLayer]:
    """Return the layers of the model that a calibration, allocation or grouping covers.

    Args:
        sizes: maps each layer name to its recorded size, which is N, or N and K.
        what: the first words of the error message, such as "calibration belongs".

    Raises:
        ValueError: if one of the layers is missing from the model or has a different
            size.
    """
    layers = named_layers(model)
    for name, size in sizes.items():
        shape = weight_matrix(layers[name]).shape if name in layers else ()
        if tuple(size) != tuple(shape[: len(size)]):
            raise ValueError(
                f"{what} to another model: layer {name!r} is missing or has a "
                f"different size."
            )
    return {name: layers[name] for name in sizes}


def left_in_float(
    model: nn.Module, packed: Iterable[str] | None = None
) -> dict[str, str]:
    """Explain why each uncompressed weight matrix stays in float.

    The result maps module names to reasons. The weight can be any parameter, such as
    the `in_proj_weight` of an attention module, the `weight_hh_l0` of an LSTM, or a
    table of position embeddings.

    Args:
        packed: the names of the compressed layers; all supported layers if None.
    """
    tied, layers = tied_layers(model), named_layers(model)
    packed = layers.keys() if packed is None else set(packed)
    shared, reasons = _shared(model), {}
    for name, module in model.named_modules():
        first = tied.get(name, name)
        if first in packed:
            continue
        if first in layers:
            reasons[name] = "unused"
        elif any(map(_is_matrix, module.parameters(recurse=False))):
            reasons[name] = _reason(module, shared)
    return reasons


def own_bytes(module: nn.Module) -> int:
    """Count the bytes of a module's parameters and buffers, excluding submodules."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return sum(tensor.nbytes for tensor in tensors)


def _is_matrix(weight: Tensor) -> bool:
    return sum(size > 1 for size in weight.shape) >= 2


def _reason(module: nn.Module, shared: set[int]) -> str:
    matrices = filter(_is_matrix, module.parameters(recurse=False))
    if any(id(weight) in shared for weight in matrices):
        return "tied"
    return "grouped" if isinstance(module, CONVOLUTIONS) else "kind"


def _shared(model: nn.Module) -> set[int]:
    """Return the ids of all parameters that belong to more than one module."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared


def bytes_of(model: nn.Module) -> int:
    """Count the bytes of all parameters and buffers, counting each tensor once.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> dpg.bytes_of(torch.nn.Linear(64, 32))  # 4 * (64 * 32 + 32)
    8320
    """
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def check_finite(x: Tensor, what: str) -> None:
    """Raise ValueError if `x` contains NaN or infinity."""
    # Summing is a cheap first test; if it overflows, all elements are checked.
    if not torch.isfinite(x.sum()) and not torch.isfinite(x).all():
        raise ValueError(f"{what} must be finite numbers; got NaN or infinity.")


def recomputing() -> bool:
    """Check whether a layer runs in a backward pass, as in `torch.utils.checkpoint`.

    Such a call repeats one that was counted in the forward pass.
    """
    return torch._C._current_graph_task_id() != -1
