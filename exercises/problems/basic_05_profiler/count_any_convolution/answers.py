"""Answers to `count_any_convolution`: the starter, right ones and wrong ones."""

# %% starter
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    ...

# %% solution
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2 * prod(weight) * positions

# %% right: over all positions
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    sizes = x[2:]
    if not transposed:
        sizes = [len(range(0, n + 2 * padding - weight[2] + 1, stride)) for n in sizes]
    done = 2
    for number in (x[0], *sizes, *weight):
        done *= number
    return done

# %% right: counted by PyTorch
import torch


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    given, kernel = torch.empty(x, device="meta"), torch.empty(weight, device="meta")
    if not transposed:
        groups = x[1] // weight[1]
        given = torch.conv2d(given, kernel, None, stride, padding, 1, groups)
    return torch.tensor(2 * kernel.numel() * given[:, 0].numel())

# %% wrong: MACs
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return prod(weight) * positions

# %% wrong: output positions for transposed, too
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    if transposed:
        height, width = (
            (n - 1) * stride - 2 * padding + k
            for n, k in zip(x[2:], weight[2:], strict=True)
        )
    return 2 * prod(weight) * x[0] * height * width

# %% wrong: input positions for all convolutions
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    return 2 * prod(weight) * x[0] * x[2] * x[3]

# %% wrong: one image
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2 * prod(weight) * positions // x[0]

# %% wrong: returns a float
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2.0 * prod(weight) * positions

# %% wrong: rounded up
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        -(-(n + 2 * padding - k) // stride) + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2 * prod(weight) * positions

# %% wrong: padding on one side
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2 * prod(weight) * positions

# %% wrong: assumes a square input
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] ** 2 if transposed else height * height)
    return 2 * prod(weight) * positions

# %% wrong: a different default
from math import prod


def conv_flops(x, weight, stride=2, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    return 2 * prod(weight) * positions

# %% wrong: groups ignored
from math import prod


def conv_flops(x, weight, stride=1, padding=0, transposed=False):
    height, width = (
        (n + 2 * padding - k) // stride + 1
        for n, k in zip(x[2:], weight[2:], strict=True)
    )
    positions = x[0] * (x[2] * x[3] if transposed else height * width)
    c_out = weight[1] if transposed else weight[0]
    return 2 * c_out * x[1] * weight[2] * weight[3] * positions

# %% right: with names of its own
from math import prod


def conv_flops(shape, kernel, /, s=1, p=0, backwards=False):
    places = shape[2:] if backwards else [
        (n + 2 * p - kernel[-1]) // s + 1 for n in shape[2:]
    ]
    return 2 * shape[0] * prod(places) * prod(kernel)
