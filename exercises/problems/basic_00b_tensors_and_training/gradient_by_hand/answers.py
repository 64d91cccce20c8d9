"""Answers to `gradient_by_hand`: the starter, right ones and wrong ones."""

# %% starter
def gradient(x, y, weight, bias):
    ...

# %% solution
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight + bias).softmax(1)  # [B, K]
    p[torch.arange(len(y)), y] -= 1  # probability minus truth
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% right: with one-hot rows, in float64
import torch
from torch.nn import functional as F


def gradient(x, y, weight, bias):
    x, weight, bias = x.double(), weight.double(), bias.double()
    z = x @ weight + bias
    p = torch.exp(z - z.max(1, keepdim=True).values)
    dz = (p / p.sum(1, keepdim=True) - F.one_hot(y, len(bias))) / len(y)
    return torch.einsum("bd,bk->dk", x, dz), dz.sum(0)

# %% right: by autograd
import torch
from torch.nn import functional as F


def gradient(x, y, weight, bias):
    weight, bias = (p.detach().clone().requires_grad_() for p in (weight, bias))
    F.cross_entropy(x @ weight + bias, y).backward()
    return [weight.grad, bias.grad]

# %% wrong: of the summed loss
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight + bias).softmax(1)
    p[torch.arange(len(y)), y] -= 1
    return x.T @ p, p.sum(0)

# %% wrong: without the truth
def gradient(x, y, weight, bias):
    dz = (x @ weight + bias).softmax(1) / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: truth minus probability
import torch


def gradient(x, y, weight, bias):
    p = -(x @ weight + bias).softmax(1)
    p[torch.arange(len(y)), y] += 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: softmax over the batch
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight + bias).softmax(0)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: exp of large logits
import torch


def gradient(x, y, weight, bias):
    p = torch.exp(x @ weight + bias)
    p = p / p.sum(1, keepdim=True)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: transposed weights
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight + bias).softmax(1)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return dz.T @ x, dz.sum(0)

# %% wrong: the mean for the bias
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight + bias).softmax(1)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.mean(0)

# %% wrong: the bias left out
import torch


def gradient(x, y, weight, bias):
    p = (x @ weight).softmax(1)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: the largest logit of all
import torch


def gradient(x, y, weight, bias):
    z = x @ weight + bias
    p = torch.exp(z - z.max())
    p = p / p.sum(1, keepdim=True)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)

# %% wrong: the mean of the logits
import torch


def gradient(x, y, weight, bias):
    z = x @ weight + bias
    p = torch.exp(z - z.mean())
    p = p / p.sum(1, keepdim=True)
    p[torch.arange(len(y)), y] -= 1
    dz = p / len(y)
    return x.T @ dz, dz.sum(0)
