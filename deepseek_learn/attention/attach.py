"""Attach an attention module to an existing network, keeping its weights."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from .families import create
from .spatial_channel import SpatialChannelAttention

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
Model = TypeVar("Model", bound=nn.Module)
CONVS = {
    3: (nn.Conv3d, nn.ConvTranspose3d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    1: (nn.Conv1d, nn.ConvTranspose1d),
}


class WithAttention(nn.Sequential):
    """A module followed by its attention: `attention(module(x))`."""

    def __init__(self, module: nn.Module, attention: nn.Module):
        super().__init__(OrderedDict(module=module, attention=attention))
        self.module: nn.Module
        self.attention: nn.Module


def attach(
    model: Model,
    name: str,
    where: str | Sequence[str] = "auto",
    *,
    scale: float | str = "unit",
    identity: bool = False,
) -> Model:
    """Add the attention module `name` to `model` in place, and return `model`.

    Args:
        model: a ResNet (torchvision or timm), a U-Net, or any other network. The
            highest dimension of its convolutions decides whether the attention is for
            series (1-D), images (2-D) or volumes (3-D).
        name: a registered name; see `attention.names()`.
        where: `"residual"` attaches before the addition in each ResNet block, as SE
            does; `"double_conv"` after each pair of spatial convolutions (not 1x1,
            depthwise or strided ones), the unit of a U-Net; `"auto"` uses the first of
            these two that the model has. Alternatively, pass module names, which may
            contain shell wildcards: `["stages.2", "stages.4"]`, `["up*.conv"]`.
        scale, identity: as in `attention.create`. `identity=True` leaves the outputs
            of a pretrained network exactly as they were.

    Pretrained weights are kept. Load them before attaching.

    If a module already has attention, the new one follows it.

    Raises:
        ValueError: if `where`, or one of its names, matches no module in the model, or
            matches one whose number of channels is unknown. The model is then left
            unchanged.
    """
    dims = dimensions(model.modules())
    places = _places(model, where)
    reference = next(model.parameters(), torch.empty(0))
    attended = {}  # build all before replacing any: an error leaves the model unchanged
    for place in sorted(places, key=lambda p: -p.count(".")):  # inner ones first
        module = model.get_submodule(place)
        attention = create(
            name, out_channels(module, dims), dims=dims, scale=scale, identity=identity
        )
        attention.to(reference).train(module.training)
        attended[place] = WithAttention(module, attention)
    for place, module in attended.items():
        _replace(model, place, module)
    return model


def dimensions(modules: Iterable[nn.Module]) -> int:
    """Return the highest dimension of the convolutions, or 2 if there are none.

    The highest one counts because a channel gate in an image network may contain a 1-D
    convolution (ECA).
    """
    present = [d for m in modules for d, types in CONVS.items() if isinstance(m, types)]
    return max(present, default=2)


def _places(model: nn.Module, where: str | Sequence[str]) -> list[str]:
    finders = {
        "residual": _last_norms,
        "double_conv": _double_convs,
        "auto": lambda modules: _last_norms(modules) or _double_convs(modules),
    }
    if isinstance(where, str) and where in finders:
        places = finders[where](_outside_attention(model))
        return places or _refuse(model, where)
    # skip the model itself, named "": it has no parent in which to replace it
    names = [name for name, _ in model.named_modules() if name]
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            _refuse(model, pattern)
    places = [name for name in names if any(_matches(name, p) for p in patterns)]
    return places or _refuse(model, where)


def _refuse(model: nn.Module, where: str | Sequence[str]) -> NoReturn:
    raise ValueError(
        f"where={where!r} matches no module of {type(model).__name__}; it accepts "
        f'"auto", "residual" (ResNet blocks), "double_conv" (U-Net) or names of '
        f"modules as in model.named_modules()."
    )


def _outside_attention(model: nn.Module) -> dict[str, nn.Module]:
    """Return the named modules, except the model itself and the parts of attention."""
    modules = dict(model.named_modules())
    inner = [
        f"{n}.attention" for n, m in modules.items() if isinstance(m, WithAttention)
    ]
    return {
        name: module
        for name, module in modules.items()
        if name and not any(f"{name}.".startswith(f"{i}.") for i in inner)
    }


def _matches(name: str, pattern: str) -> bool:
    """Match wildcards part by part: `up*.conv` matches `up1.conv`, not `up1.a.conv`."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _last_norms(modules: dict[str, nn.Module]) -> list[str]:
    """Find the last norm on each ResNet block's residual branch, by its usual names."""
    norms = []
    for name, module in modules.items():
        children = {child for child, _ in module.named_children()}
        is_stem = isinstance(module, nn.Sequential)  # a stem has no addition
        if {"conv1", "bn1", "conv2", "bn2"} <= children and not is_stem:
            last = "bn3" if "bn3" in children else "bn2"
            norms.append(f"{name}.{last}")
    return norms


def _double_convs(modules: dict[str, nn.Module]) -> list[str]:
    """Find modules whose direct children include exactly two convolutions, in sequence.

    Both must be spatial and keep the size: the 1x1 pairs of squeeze-and-excitation and
    of MLPs, depthwise pairs, and the strided pairs of stems do not belong to a U-Net.
    """
    dims = dimensions(modules.values())

    def is_pair(module: nn.Module) -> bool:
        convs = [c for c in module.children() if isinstance(c, CONVS[dims])]
        joined = len(convs) == 2 and convs[0].out_channels == convs[1].in_channels
        return joined and all(map(_is_spatial, convs))

    return [name for name, module in modules.items() if is_pair(module)]


def _is_spatial(conv: nn.modules.conv._ConvNd) -> bool:
    """Return whether it mixes channels and two axes (or its only axis) everywhere."""
    axes = sum(size > 1 for size in conv.kernel_size)
    is_dense = not conv.transposed and conv.groups == 1 and set(conv.stride) == {1}
    return is_dense and axes >= min(2, len(conv.kernel_size))


def out_channels(module: nn.Module, dims: int) -> int:
    """Return the channels of the last `dims`-D convolution or norm in `module`.

    The layers of attention gates are ignored, because attention keeps the number of
    channels.
    """
    for layer in reversed(list(_without_gates(module))):
        if isinstance(layer, nn.GroupNorm):
            return layer.num_channels
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return layer.num_features
        if isinstance(layer, CONVS[dims]):
            return layer.out_channels
    raise ValueError(
        f"{type(module).__name__} holds no convolution and no norm, so its number of "
        f"channels is unknown; name a module that has one."
    )


def _without_gates(module: nn.Module) -> Iterator[nn.Module]:
    """Yield `module.modules()`, skipping any attention modules."""
    if isinstance(module, SpatialChannelAttention):
        return
    yield module
    children = module.children()
    for child in [module.module] if isinstance(module, WithAttention) else children:
        yield from _without_gates(child)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def attention_maps(
    model: nn.Module, x: Tensor, batch_size: int | None = None
) -> dict[str, Tensor]:
    """Run `model` on `x` and return the spatial gates of all spatial-channel modules.

    Args:
        batch_size: number of samples of `x` per forward pass; None runs all at once.

    Returns:
        Module name → spatial gate `[B, 1, *space]`, with values in 0..1.

    Raises:
        ValueError: if `batch_size` is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be None or 1 or more; got {batch_size}.")
    parts = [_maps_of(model, part) for part in x.split(batch_size or max(len(x), 1))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _maps_of(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, SpatialChannelAttention):

            def record(module: Any, inputs: tuple, name: str = name) -> None:
                with torch.no_grad():
                    maps[name] = module.gates(inputs[0])[0]

            hooks.append(module.register_forward_pre_hook(record))
    try:
        with torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return maps
