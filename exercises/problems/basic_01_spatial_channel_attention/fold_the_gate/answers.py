"""Answers to `fold_the_gate`: the starter, right ones and wrong ones."""

# %% starter
import torch


def fold_gate(weight, bias, kernel):
    ...

# %% solution
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K @ weight, K @ bias

# %% right: in float64
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K.double() @ weight.double(), K.double() @ bias.double()

# %% right: in float32, tap by tap
import torch


def fold_gate(weight, bias, kernel):
    taps = [kernel[0, :, t // 3, t % 3].float() for t in range(9)]
    rows = [sum(k[m] * weight[m] for m in range(len(k))) for k in taps]
    return [torch.stack(rows), torch.stack([k.dot(bias) for k in taps])]

# %% right: in NumPy, with negative strides
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).numpy().T[::-1]
    return (K @ weight.numpy())[::-1], (K @ bias.numpy())[::-1]

# %% right: returns a parameter
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return torch.nn.Parameter(K @ weight), torch.einsum('tm,m->t', K, bias)

# %% wrong: zero bias
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K @ weight, torch.zeros_like(K[:, 0])

# %% wrong: no bias at all
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K @ weight, None

# %% wrong: the whole bias in the middle tap
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    tap_bias = torch.zeros_like(K[:, 0])
    tap_bias[4] = (K @ bias).sum()
    return K @ weight, tap_bias

# %% wrong: the kernel transposed
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].transpose(1, 2).flatten(1).T  # [9, M]
    return K @ weight, K @ bias

# %% wrong: the taps reversed
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return (K @ weight).flip(0), (K @ bias).flip(0)

# %% wrong: an equal share of the bias for each tap
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K @ weight, (K @ bias).mean().expand(9)

# %% wrong: the summed bias in each tap
import torch


def fold_gate(weight, bias, kernel):
    K = kernel[0].flatten(1).T  # [9, M]
    return K @ weight, bias.sum().expand(9)
