"""Answers to `inflate_a_kernel`: the starter, right ones and wrong ones."""

# %% starter
import torch
from torch import nn


def inflate(conv, depth):
    ...

# %% solution
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        (depth, *conv.kernel_size),
        (1, *conv.stride),
        (depth // 2, *conv.padding),
        bias=conv.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% right: by new parameters
import torch
from torch import nn


def inflate(conv, depth):
    c_out, c_in, h, w = conv.weight.shape
    new = nn.Conv3d(c_in, c_out, (depth, h, w), stride=(1, *conv.stride),
                    padding=(depth // 2, *conv.padding))
    weight = conv.weight.detach().clone()
    new.weight = nn.Parameter(torch.stack([weight / depth] * depth, dim=2))
    bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
    new.bias = bias
    return new

# %% right: in place, slice by slice
import torch
from torch import nn


def inflate(conv, depth):
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *kernel),
                    (1, *stride), (depth // 2, *padding), bias=conv.bias is not None)
    for i in range(depth):
        new.weight.data[:, :, i] = conv.weight.data
    new.weight.data /= depth
    if conv.bias is not None:
        new.bias.data = conv.bias.data.clone()
    return new

# %% right: from a state dict
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    state = {k: v.clone() for k, v in conv.state_dict().items()}
    state["weight"] = state["weight"].unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth
    new.load_state_dict(state)
    return new

# %% wrong: not divided
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None])
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% wrong: the middle slice only
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.zero_()[:, :, depth // 2] = conv.weight
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% wrong: the bias is forgotten
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
    return new

# %% wrong: the bias is shared
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
    new.bias = conv.bias
    return new

# %% wrong: no padding along z
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (0, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% wrong: the stride of the plane along z
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (conv.stride[0], *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% wrong: the 2-D layer is divided as well
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    weight = conv.weight.data
    weight /= depth
    new.weight.data.copy_(weight[:, :, None])
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias.data)
    return new

# %% wrong: expanded, not copied
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    share = conv.weight.detach()[:, :, None] / depth
    new.weight = nn.Parameter(share.expand(-1, -1, depth, -1, -1))
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias.data)
    return new

# %% wrong: another dtype
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None).double()
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
        if conv.bias is not None:
            new.bias.copy_(conv.bias)
    return new

# %% wrong: a bias per slice
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[:, :, None] / depth)
    if conv.bias is not None:
        new.bias = nn.Parameter(conv.bias.detach().repeat(depth))
    return new

# %% wrong: the 2-D layer is frozen
import torch
from torch import nn


def inflate(conv, depth):
    conv.requires_grad_(False)
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    new.weight.data.copy_(conv.weight[:, :, None] / depth)
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

# %% wrong: frozen
import torch
from torch import nn


def inflate(conv, depth):
    new = nn.Conv3d(conv.in_channels, conv.out_channels, (depth, *conv.kernel_size),
                    (1, *conv.stride), (depth // 2, *conv.padding),
                    bias=conv.bias is not None)
    state = {k: v.clone() for k, v in conv.state_dict().items()}
    state["weight"] = state["weight"].unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth
    new.load_state_dict(state)
    return new.requires_grad_(False)
