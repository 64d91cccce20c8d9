"""Attach attention modules to an existing network while keeping its weights."""

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
    """A module followed by an attention module: `attention(module(x))`.

    >>> import torch
    >>> from deepseek_learn.attention import WithAttention, create
    >>> block = WithAttention(torch.nn.Conv2d(3, 16, 3), create("se", 16))
    >>> block(torch.rand(1, 3, 10, 10)).shape
    torch.Size([1, 16, 8, 8])
    """

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
    """Attach attention modules to `model` in place and return `model`.

    The pretrained weights are kept, so load them before attaching. If a module already
    has attention, the new attention module is applied after the existing one.

    Args:
        model: a ResNet (from torchvision or timm), a U-Net, or any other network. The
            highest dimensionality among its convolutions determines whether the
            attention modules are built for series (1-D), images (2-D) or volumes (3-D).
        name: the registered name of the attention module; see `attention.names()`.
        where: `"residual"` attaches a module before the addition in each ResNet block,
            as SE does. `"double_conv"` attaches a module after each pair of spatial
            convolutions, the building block of a U-Net. (Convolutions that are 1x1,
            depthwise or strided do not qualify.) `"auto"` uses the first of these two
            options that matches the model. Alternatively, pass module names, which may
            contain shell-style wildcards, such as `["stages.2", "stages.4"]` or
            `["up*.conv"]`.
        scale, identity: see `attention.create`. With `identity=True` and the default
            scale, the outputs of a pretrained network do not change at all.

    Raises:
        ValueError: if `where` or one of its names matches no module in the model, or if
            it matches a module whose number of channels is unknown. The model is then
            left unchanged.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import attention
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    >>> x = torch.rand(1, 3, 12, 12)
    >>> before = net(x)
    >>> net = attention.attach(net, "sc", where=["2"], identity=True)
    >>> torch.equal(net(x), before)  # initially the same function
    True
    >>> type(net[2]).__name__
    'WithAttention'
    """
    dims = dimensions(model.modules())
    places = _places(model, where)
    reference = next(model.parameters(), torch.empty(0))
    attended = {}  # built first, so that an error leaves the model unchanged
    for place in sorted(places, key=lambda p: -p.count(".")):  # inner modules first
        module = model.get_submodule(place)
        attention = create(
            name, out_channels(module, dims), dims=dims, scale=scale, identity=identity
        )
        attention.to(reference).train(module.training)
        attended[place] = WithAttention(module, attention)
    for place, module in attended.items():
        model.set_submodule(place, module)
    return model


def dimensions(modules: Iterable[nn.Module]) -> int:
    """Return the highest dimensionality among the convolutions, or 2 if there are none.

    The highest is used because the attention modules in an image network, such as ECA,
    may also contain 1-D convolutions.
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
    # skip the model itself, whose name is "", because it has no parent module
    names = [name for name, _ in model.named_modules() if name]
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            _refuse(model, pattern)
    places = [name for name in names if any(_matches(name, p) for p in patterns)]
    return places or _refuse(model, where)


def _refuse(model: nn.Module, where: str | Sequence[str]) -> NoReturn:
    raise ValueError(
        f"where={where!r} matches no module of {type(model).__name__}; it must be "
        f'"auto", "residual" (ResNet blocks), "double_conv" (U-Net) or module names '
        f"from model.named_modules()."
    )


def _outside_attention(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model's submodules by name, without any parts of attention modules."""
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
    """Check whether a name matches a pattern, comparing them part by part.

    For example, `up*.conv` matches `up1.conv` but not `up1.a.conv`.
    """
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _last_norms(modules: dict[str, nn.Module]) -> list[str]:
    """Return the name of the last norm in the residual branch of each ResNet block.

    The blocks are recognized by their conventional layer names.
    """
    norms = []
    for name, module in modules.items():
        children = {child for child, _ in module.named_children()}
        is_stem = isinstance(module, nn.Sequential)  # a stem has no addition
        if {"conv1", "bn1", "conv2", "bn2"} <= children and not is_stem:
            last = "bn3" if "bn3" in children else "bn2"
            norms.append(f"{name}.{last}")
    return norms


def _double_convs(modules: dict[str, nn.Module]) -> list[str]:
    """Return the names of modules that contain exactly two consecutive convolutions.

    The convolutions must be direct children, and both must be spatial and preserve the
    size of their input. This excludes the 1x1 pairs in squeeze-and-excitation modules
    and MLPs, depthwise pairs, and the strided pairs in stems, which are not part of a
    U-Net.
    """
    dims = dimensions(modules.values())

    def is_pair(module: nn.Module) -> bool:
        convs = [c for c in module.children() if isinstance(c, CONVS[dims])]
        joined = len(convs) == 2 and convs[0].out_channels == convs[1].in_channels
        return joined and all(map(_is_spatial, convs))

    return [name for name, module in modules.items() if is_pair(module)]


def _is_spatial(conv: nn.modules.conv._ConvNd) -> bool:
    """Check whether a convolution is dense, has stride 1 and spans at least two axes.

    For a 1-D convolution, one axis is enough.
    """
    axes = sum(size > 1 for size in conv.kernel_size)
    is_dense = not conv.transposed and conv.groups == 1 and set(conv.stride) == {1}
    return is_dense and axes >= min(2, len(conv.kernel_size))


def out_channels(module: nn.Module, dims: int) -> int:
    """Return the number of output channels of the last convolution or norm in `module`.

    Only `dims`-dimensional convolutions are considered. The layers of attention modules
    are ignored, because attention does not change the number of channels.
    """
    for layer in reversed(list(_without_gates(module))):
        if isinstance(layer, nn.GroupNorm):
            return layer.num_channels
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return layer.num_features
        if isinstance(layer, CONVS[dims]):
            return layer.out_channels
    raise ValueError(
        f"{type(module).__name__} contains no convolution or norm, so its number of "
        f"channels is unknown; name a module that contains one."
    )


def _without_gates(module: nn.Module) -> Iterator[nn.Module]:
    """Yield `module` and its submodules, skipping attention modules."""
    if isinstance(module, SpatialChannelAttention):
        return
    yield module
    children = module.children()
    for child in [module.module] if isinstance(module, WithAttention) else children:
        yield from _without_gates(child)


def attention_maps(
    model: nn.Module, x: Tensor, batch_size: int | None = None
) -> dict[str, Tensor]:
    """Run `model` on `x` and return the spatial gates of all spatial-channel modules.

    Args:
        batch_size: the number of samples per forward pass; None runs all samples at
            once.

    Returns:
        A dictionary from module names to spatial gates of shape `[B, 1, *space]`, with
        values between 0 and 1.

    Raises:
        ValueError: if `batch_size` is less than 1.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn.attention import SpatialChannelAttention, attention_maps
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), SpatialChannelAttention(8))
    >>> maps = attention_maps(net, torch.rand(4, 3, 16, 16))
    >>> {name: gate.shape for name, gate in maps.items()}
    {'1': torch.Size([4, 1, 16, 16])}
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be None or at least 1; got {batch_size}.")
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
