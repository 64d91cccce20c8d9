"""Answers to `your_own_rule`: the starter, right ones and wrong ones."""

# %% starter
import torch

from deepseek_learn import optim


def direction(g, state, t):
    ...

# %% solution
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    ahead = torch.lerp(g, momentum, 0.8)
    return optim.orthogonalize(ahead)

# %% wrong: the gradient
import torch

from deepseek_learn import optim


def direction(g, state, t):
    return g

# %% wrong: momentum
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    return momentum

# %% wrong: Nesterov's momentum
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    ahead = torch.lerp(g, momentum, 0.8)
    return ahead

# %% wrong: the sign of the gradient
import torch

from deepseek_learn import optim


def direction(g, state, t):
    return g.sign()

# %% wrong: the sign of the momentum
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    ahead = torch.lerp(g, momentum, 0.8)
    return ahead.sign()

# %% wrong: Adam, element by element
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    square = state.setdefault("square", torch.zeros_like(g))
    square.lerp_(g.square(), 0.05)
    return momentum / (1 - 0.8**t) / ((square / (1 - 0.95**t)).sqrt() + 1e-8)

# %% wrong: in place
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    return optim.orthogonalize(g.lerp_(momentum, 0.8))

# %% wrong: uphill
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    ahead = torch.lerp(g, momentum, 0.8)
    return -optim.orthogonalize(ahead)

# %% wrong: a random direction
import torch

from deepseek_learn import optim


def direction(g, state, t):
    return optim.orthogonalize(torch.randn_like(g))

# %% wrong: zeros
import torch

from deepseek_learn import optim


def direction(g, state, t):
    return torch.zeros_like(g)

# %% wrong: not a number
import torch

from deepseek_learn import optim


def direction(g, state, t):
    return (g / g.norm()).log()

# %% wrong: transposed
import torch

from deepseek_learn import optim


def direction(g, state, t):
    momentum = state.setdefault("momentum", torch.zeros_like(g))
    momentum.lerp_(g, 0.2)
    ahead = torch.lerp(g, momentum, 0.8)
    return optim.orthogonalize(ahead).T
