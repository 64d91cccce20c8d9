"""Answers to `find_the_leak`: the starter, right ones and wrong ones."""

# %% starter
import torch


def leaks(attend, tokens, width):
    ...

# %% solution
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% right: by derivatives
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    slope = torch.autograd.functional.jacobian(attend, x)  # [T, d, T, d]
    later = torch.ones(tokens, tokens).triu(1).bool()
    return bool((slope.abs().amax((1, 3)) > 0)[later].any())

# %% wrong: only the middle position
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in [tokens // 2]:
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: every other border
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens, 2):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: first and last positions only
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in [1, 2, 3, 4, *range(tokens - 4, tokens)]:
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: compares one output channel
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t, 0], before[:t, 0], atol=1e-6):
            return True
    return False

# %% wrong: changes one input channel
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:, 0] = torch.randn(tokens - t)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: only the last input and output channel
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:, -1] = torch.randn(tokens - t)
        if not torch.allclose(attend(other)[:t, -1], before[:t, -1], atol=1e-6):
            return True
    return False

# %% wrong: the mean of the signed differences
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if (attend(other)[:t] - before[:t]).mean() > 1e-5:
            return True
    return False

# %% wrong: a coarse comparison
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=0.1):
            return True
    return False

# %% wrong: any change is a leak
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other), before, atol=1e-6):
            return True
    return False

# %% wrong: only the last token is changed
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in [tokens - 1]:
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: zeros for the text
import torch


def leaks(attend, tokens, width):
    x = torch.zeros(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.zeros(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return True
    return False

# %% wrong: a tensor instead of a bool
import torch


def leaks(attend, tokens, width):
    x = torch.randn(tokens, width)
    before = attend(x)
    for t in range(1, tokens):
        other = x.clone()
        other[t:] = torch.randn(tokens - t, width)
        if not torch.allclose(attend(other)[:t], before[:t], atol=1e-6):
            return torch.tensor(True)
    return False

# %% wrong: always a leak
import torch


def leaks(attend, tokens, width):
    attend(torch.randn(tokens, width))
    return True

# %% wrong: never a leak
import torch


def leaks(attend, tokens, width):
    attend(torch.randn(tokens, width))
    return False
