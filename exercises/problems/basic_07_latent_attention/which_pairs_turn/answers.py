"""Answers to `which_pairs_turn`: the starter, right ones and wrong ones."""

# %% starter
import torch


def index_key(k, positions, rope):
    ...

# %% solution
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% right: as complex numbers
import torch


def index_key(k, positions, rope):
    half = rope // 2
    theta = 10_000.0 ** (-2 * torch.arange(half, dtype=torch.float64) / rope)
    turn = torch.polar(torch.ones(len(k), half).double(), positions[:, None] * theta)
    pair = torch.complex(k[:, :half].double(), k[:, half:rope].double()) * turn
    done = k.clone()
    done[:, :half], done[:, half:rope] = pair.real, pair.imag
    return done

# %% wrong: as it was shipped
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, 0:rope:2], k[:, 1:rope:2]
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], 2).flatten(1)
    return torch.cat([turned, k[:, rope:]], 1)

# %% wrong: neighbors, concatenated as halves
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, 0:rope:2], k[:, 1:rope:2]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% wrong: the last channels
import torch


def index_key(k, positions, rope):
    plain, k = k[:, :-rope], k[:, -rope:]
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([plain, a * cos - b * sin, b * cos + a * sin], 1)

# %% wrong: rotated backward
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = -positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% wrong: all channels
import torch


def index_key(k, positions, rope):
    rope = k.shape[1] - k.shape[1] % 2
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% wrong: one frequency too many
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope // 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% wrong: token order instead of positions
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = torch.arange(len(k))[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1)

# %% wrong: in float64
import torch


def index_key(k, positions, rope):
    theta = 10_000.0 ** -(torch.arange(0, rope, 2) / rope)
    turn = positions[:, None] * theta
    cos, sin = turn.cos(), turn.sin()
    a, b = k[:, : rope // 2], k[:, rope // 2 : rope]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, k[:, rope:]], 1).double()

# %% wrong: not rotated
import torch


def index_key(k, positions, rope):
    return k
