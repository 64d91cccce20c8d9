"""Answers to `match_the_scale`: the starter, right ones and wrong ones."""

# %% starter
import torch


def unit_gain(module, x):
    ...

# %% solution
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return 1 / (y / x).mean().item()

# %% right: in float64, with its gradient
import torch


def unit_gain(module, x):
    module.train(False)
    x = x.double().requires_grad_()
    return (module(x) / x).mean() ** -1

# %% right: in NumPy, sample by sample
import torch


def unit_gain(module, x):
    module.eval()
    with torch.inference_mode():
        ratios = [(module(each[None]) / each).numpy().mean() for each in x]
    return len(x) / sum(ratios)

# %% wrong: the quotient of the means
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return (x.mean() / y.mean()).item()

# %% wrong: not inverted
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return (y / x).mean().item()

# %% wrong: rounded to bfloat16
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return 1 / (y / x).mean().bfloat16()

# %% wrong: not a number
import torch


def unit_gain(module, x):
    return float('nan')

# %% wrong: assumed to be one half
import torch


def unit_gain(module, x):
    return 2.0

# %% wrong: measured in training mode
import torch


def unit_gain(module, x):
    module.train()
    with torch.no_grad():
        y = module(x)
    return 1 / (y / x).mean().item()

# %% wrong: the mode left unchanged
import torch


def unit_gain(module, x):
    with torch.no_grad():
        y = module(x)
    return 1 / (y / x).mean().item()

# %% wrong: the mean of the inverse
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return (x / y).mean().item()

# %% wrong: the median
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return 1 / (y / x).median().item()

# %% wrong: divides in place
import torch


def unit_gain(module, x):
    module.eval()
    with torch.no_grad():
        y = module(x)
    return 1 / x.reciprocal_().mul_(y).mean().item()
