"""Answers to `damage_of_rounding`: the starter, right ones and wrong ones."""

# %% starter
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    ...

# %% solution
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient * error

# %% right: row by row, in float32
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    damage = []
    for w, r, g in zip(weight.float(), rounded.float(), gradient.float()):
        change = w - r
        damage.append(g * torch.einsum("k,kl,l->", change, second_moment.float(), change))
    return torch.stack(damage)

# %% wrong: diagonal of the second moment only
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = (change**2 * second_moment.diagonal()).sum(1)  # [N]
    return gradient * error

# %% wrong: the gradient squared again
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient**2 * error

# %% wrong: the gradient forgotten
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return error

# %% wrong: the weight instead of its change
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient * error

# %% wrong: summed over the layer
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient @ error

# %% wrong: the root of the error
import torch


def damage_of_rounding(weight, rounded, second_moment, gradient):
    change = weight - rounded  # [N, K]
    error = ((change @ second_moment) * change).sum(1)  # [N]
    return gradient * error.sqrt()
