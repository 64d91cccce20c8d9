"""Answers to `rounding_with_groups`: the starter, right ones and wrong ones."""

# %% starter
import torch


def quantize(weight, bits, group_size):
    ...

# %% solution
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% right: group by group, ties rounded up
import torch


def quantize(weight, bits, group_size):
    half, codes, scales = 2 ** (bits - 1), [], []
    for row in weight:
        for group in row.split(group_size):
            scales.append(max(abs(w) for w in group.tolist()) / (half - 0.5))
            q = torch.floor(group / scales[-1] + half + 0.5)
            codes.append(torch.minimum(q, torch.tensor(2.0**bits - 1)))
    codes = torch.cat(codes).to(torch.uint8).view_as(weight)
    return codes, torch.tensor(scales).view(len(weight), -1)

# %% right: in NumPy and float64
import numpy as np
import torch


def quantize(weight, bits, group_size):
    groups = weight.double().numpy().reshape(len(weight), -1, group_size)
    scale = np.abs(groups).max(2, keepdims=True) / (2 ** (bits - 1) - 0.5)
    q = np.clip(np.rint(groups / scale) + 2 ** (bits - 1), 0, 2**bits - 1)
    codes = torch.tensor(q.reshape(weight.shape), dtype=torch.uint8)
    return [codes, torch.tensor(scale[..., 0]).float()]

# %% wrong: one scale for the whole row
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax((1, 2), keepdim=True) / (half - 0.5)
    scale = scale.expand(N, K // group_size, 1)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: one scale for the whole matrix
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax() / (half - 0.5)
    scale = scale.expand(N, K // group_size, 1)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: a scale whose range excludes the largest weight
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: without clipping
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round()
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: clipped one code too low
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 2)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: truncated instead of rounded
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).floor().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: signed codes
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale).round().clamp(-half, half - 1)
    return codes.to(torch.int8).view(N, K), scale[:, :, 0]

# %% wrong: codes left as floats
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.view(N, K), scale[:, :, 0]

# %% wrong: the largest value instead of the largest magnitude
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: groups of strided weights
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, group_size, K // group_size).transpose(1, 2)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).reshape(N, K), scale[:, :, 0]

# %% wrong: scales in float64
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0].double()

# %% wrong: scales with an extra axis
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale

# %% wrong: codes in int64
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.int64).view(N, K), scale[:, :, 0]

# %% wrong: divided in place
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups.div_(scale) + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]

# %% wrong: scale from the code range
import torch


def quantize(weight, bits, group_size):
    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (2 * half - 1)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]
