"""Answers to `clip_and_add_noise`: the starter, right ones and wrong ones."""

# %% starter
import torch


def private_sum(gradients, clip, noise):
    ...

# %% solution
import torch


def private_sum(gradients, clip, noise):
    norms = gradients.norm(dim=1, keepdim=True)  # [N, 1]
    scale = (clip / norms.clamp(min=1e-12)).clamp(max=1)
    total = (scale * gradients).sum(0)
    return total + noise * clip * torch.randn_like(total)

# %% right: in a loop
import torch


def private_sum(gradients, clip, noise):
    total = torch.zeros(gradients.shape[1])
    for gradient in gradients:
        norm = gradient.norm().item()
        total = total + gradient * (clip / norm if norm > clip else 1.0)
    return total + torch.normal(0.0, noise * clip, total.shape)

# %% right: where, with numpy's noise
import numpy as np
import torch


def private_sum(gradients, clip, noise):
    norms = gradients.square().sum(1).sqrt()
    clipped = torch.where(
        (norms > clip)[:, None], gradients * clip / (norms + 1e-20)[:, None], gradients
    )
    grain = np.random.default_rng().normal(0, noise * clip, gradients.shape[1])
    return clipped.sum(0) + torch.from_numpy(grain).float()

# %% right: renorm
import torch


def private_sum(gradients, clip, noise):
    total = torch.renorm(gradients, p=2, dim=0, maxnorm=clip).sum(dim=0)
    return total + torch.empty_like(total).normal_(std=noise * clip)

# %% wrong: the sum is clipped
import torch


def private_sum(gradients, clip, noise):
    total = gradients.sum(0)
    total = total * min(1.0, clip / total.norm().item())
    return total + noise * clip * torch.randn_like(total)

# %% wrong: each value is clipped
import torch


def private_sum(gradients, clip, noise):
    total = gradients.clamp(-clip, clip).sum(0)
    return total + noise * clip * torch.randn_like(total)

# %% wrong: small gradients grow
import torch


def private_sum(gradients, clip, noise):
    total = (gradients / gradients.norm(dim=1, keepdim=True) * clip).sum(0)
    return total + noise * clip * torch.randn_like(total)

# %% wrong: noise without the norm
import torch


def private_sum(gradients, clip, noise):
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    total = (scale * gradients).sum(0)
    return total + noise * torch.randn_like(total)

# %% wrong: noise for each patient
import torch


def private_sum(gradients, clip, noise):
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    return (scale * gradients + noise * clip * torch.randn_like(gradients)).sum(0)

# %% wrong: no noise
def private_sum(gradients, clip, noise):
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    return (scale * gradients).sum(0)

# %% wrong: one number for all
import torch


def private_sum(gradients, clip, noise):
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    return (scale * gradients).sum(0) + noise * clip * torch.randn(1)

# %% wrong: the same noise every time
import torch


def private_sum(gradients, clip, noise):
    torch.manual_seed(0)
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    total = (scale * gradients).sum(0)
    return total + noise * clip * torch.randn_like(total)

# %% wrong: the mean
import torch


def private_sum(gradients, clip, noise):
    scale = (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
    total = (scale * gradients).mean(0)
    return total + noise * clip * torch.randn_like(total)

# %% right: a distribution, unless there is no noise
import torch


def private_sum(gradients, clip, noise):
    total = torch.zeros(gradients.shape[1])
    for row in gradients:
        norm = row.norm()
        total += row if norm <= clip else row * (clip / norm)
    if noise > 0:
        total += torch.distributions.Normal(0.0, noise * clip).sample(total.shape)
    return total

# %% wrong: Laplace noise
import torch


def private_sum(gradients, clip, noise):
    norms = gradients.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = (gradients * (clip / norms).clamp(max=1)).sum(0)
    if noise == 0:
        return total
    scale = noise * clip / 2**0.5
    return total + torch.distributions.Laplace(0.0, scale).sample(total.shape)

# %% wrong: uniform noise
import torch


def private_sum(gradients, clip, noise):
    norms = gradients.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = (gradients * (clip / norms).clamp(max=1)).sum(0)
    return total + (2 * torch.rand_like(total) - 1) * 3**0.5 * noise * clip

# %% wrong: one value for two
import torch


def private_sum(gradients, clip, noise):
    norms = gradients.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = (gradients * (clip / norms).clamp(max=1)).sum(0)
    half = torch.randn((len(total) + 1) // 2 // 2 + 1)
    return total + noise * clip * half.repeat(4)[: len(total)]
