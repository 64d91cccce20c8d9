"""Answers to `a_loop_that_learns`: the starter, right ones and wrong ones."""

# %% starter
def train(model, x, y, steps, lr):
    ...

# %% solution
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% right: without an optimizer
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    losses = []
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = None
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= lr * parameter.grad
        losses.append(loss.detach())
    return losses

# %% right: the gradients as values
import torch


def train(model, x, y, steps, lr):
    parameters = list(model.parameters())
    losses = []
    for _ in range(steps):
        log_p = model(x).log_softmax(1)
        loss = -log_p[torch.arange(len(y)), y].mean()
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.data = parameter.data - lr * slope
        losses.append(loss.item())
    return tuple(losses)

# %% wrong: the gradients never cleared
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% wrong: cleared after the step only
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses

# %% wrong: cleared before the step
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% wrong: uphill
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    losses = []
    for _ in range(steps):
        model.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += lr * parameter.grad
        losses.append(loss.item())
    return losses

# %% wrong: the losses after the steps
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(F.cross_entropy(model(x), y).item())
    return losses

# %% wrong: the summed loss
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(y))
    return losses

# %% wrong: a copy is trained
import copy

import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% wrong: another optimizer
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% wrong: softmax before the cross entropy
import torch
from torch.nn import functional as F


def train(model, x, y, steps, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x).softmax(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
