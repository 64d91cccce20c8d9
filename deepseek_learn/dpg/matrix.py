"""A layer as a matrix product: what calibration, rounding and packed layers share.

Linear: :math:`y = W x`, rows of x are tokens. Convolution (ungrouped): the same with
patches as rows, :math:`W` `[N, K]` with K = kernel height x kernel width x channels in
this order, so that a patch of a channels-last picture is copied in runs.
"""

from collections.abc import Iterable
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 16  # rows that share their bits: one vector register of the kernels


def is_supported(layer: nn.Module) -> bool:
    """A linear layer, or a 2-D convolution without groups and with plain padding.

    Subclasses compute something else, as far as anybody knows: they are left alone.
    So are layers whose weight a hook computes at each call (pruned, weight-normed).
    """
    if "weight" not in layer._parameters:
        return False
    if type(layer) is nn.Conv2d:
        plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return layer.groups == 1 and plain
    return type(layer) is nn.Linear


def weight_matrix(layer: nn.Module) -> Tensor:
    """The layer's weight as float32 `[N, K]`."""
    weight = layer.weight.detach().float()
    if weight.dim() == 4:  # [N, C, kh, kw] -> [N, kh, kw, C]
        weight = weight.permute(0, 2, 3, 1)
    return weight.reshape(len(weight), -1)


def layer_weight(matrix: Tensor, layer: nn.Module) -> Tensor:
    """`[N, K]` in the shape and dtype of the layer's weight."""
    weight = layer.weight
    if weight.dim() == 4:
        n, c, kh, kw = weight.shape
        matrix = matrix.reshape(n, kh, kw, c).permute(0, 3, 1, 2)
    return matrix.reshape(weight.shape).to(weight.dtype)


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The input `[..., K]` or `[B, C, H, W]` as the rows `[M, K]` that meet W."""
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1])
    return patches(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


def output_rows(layer: nn.Module, y: Tensor) -> Tensor:
    """The output `[..., N]` or `[B, N, H, W]` as rows `[M, N]`."""
    if isinstance(layer, nn.Conv2d):
        y = y.permute(0, 2, 3, 1)
    return y.reshape(-1, y.shape[-1])


def patches(x: Tensor, kernel_size, stride, padding, dilation) -> Tensor:
    """The patches of `[B, C, H, W]` as `[B * H' * W', kh * kw * C]`, one copy."""
    if x.dim() != 4:
        raise ValueError(
            f"a convolution's input must be [B, C, H, W]; got {list(x.shape)}."
        )
    if any(padding):
        x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    x = x.permute(0, 2, 3, 1)  # [B, H, W, C]
    batch, height, width, channels = x.shape
    high, wide = output_size((height, width), kernel_size, stride, (0, 0), dilation)
    sb, sh, sw, sc = x.stride()
    windows = x.as_strided(  # [B, H', W', kh, kw, C], nothing copied yet
        (batch, high, wide, *kernel_size, channels),
        (sb, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc),
    )
    columns = kernel_size[0] * kernel_size[1] * channels
    return windows.reshape(batch * high * wide, columns)


def output_size(size, kernel_size, stride, padding, dilation) -> tuple[int, int]:
    """Height and width after a convolution."""
    return tuple(
        (size[i] + 2 * padding[i] - dilation[i] * (kernel_size[i] - 1) - 1) // stride[i]
        + 1
        for i in range(2)
    )


def group_size_for(columns: int, wanted: int) -> int:
    """`wanted`, or 32 where that pads a row of K = `columns` with fewer zeros."""
    return min((wanted, 32), key=lambda g: (ceil(columns / g) * g, -g))


def pad_columns(matrix: Tensor, group_size: int) -> Tensor:
    """Zeros at the end of each row, up to a multiple of the group size."""
    return F.pad(matrix, (0, -matrix.shape[1] % group_size))


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name → supported layer, each once.

    Left out are layers whose weight another module uses too (tied weights: storing one
    of the two packed would store it twice); `left_in_float` says so.

    Raises:
        TypeError: when `model` is no module.
        ValueError: when it has no layer to compress.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got a {type(model).__name__}.")
    shared = _shared(model)
    found = {
        name: module
        for name, module in model.named_modules()
        if is_supported(module) and id(module.weight) not in shared
    }
    if not found:
        raise ValueError(
            f"model has no layer to compress: {type(model).__name__} holds no linear "
            f"layer and no 2-D convolution (groups=1, zero padding) with a weight of "
            f"its own."
        )
    return found


def matching_layers(
    model: nn.Module, sizes: dict[str, tuple[int, ...]], what: str
) -> dict[str, nn.Module]:
    """The model's layers that a calibration, an allocation or groups are about.

    Args:
        sizes: name → N, or N and K, as they know them.
        what: "calibration is", "groups are": how the refusal begins.

    Raises:
        ValueError: when the model has no such layer, or one of another size.
    """
    layers = named_layers(model)
    for name, theirs in sizes.items():
        ours = weight_matrix(layers[name]).shape if name in layers else ()
        if tuple(theirs) != tuple(ours[: len(theirs)]):
            raise ValueError(
                f"{what} of another model: they differ in the layer {name!r}."
            )
    return {name: layers[name] for name in sizes}


def left_in_float(
    model: nn.Module, packed: Iterable[str] | None = None
) -> dict[str, str]:
    """Name → why, for each module with a matrix of weights that stays as it is.

    Args:
        packed: the names of the layers that are compressed; None: all that can be.
    """
    shared, reasons = _shared(model), {}
    if packed is not None:
        left = named_layers(model).keys() - set(packed)
        reasons = dict.fromkeys(sorted(left), "unused")
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() < 2:
            continue
        if id(weight) in shared:
            reasons[name] = "tied"
        elif not is_supported(module):
            reasons[name] = "grouped" if isinstance(module, nn.Conv2d) else "kind"
    return reasons


def _shared(model: nn.Module) -> set[int]:
    """The ids of weights that more than one module holds."""
    seen, shared = set(), set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared


def bytes_of(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, each storage counted once."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def check_finite(x: Tensor, what: str) -> None:
    """Refuse NaN and infinity."""
    if not torch.isfinite(x).all():
        raise ValueError(f"{what} must be finite numbers; got NaN or infinity.")
