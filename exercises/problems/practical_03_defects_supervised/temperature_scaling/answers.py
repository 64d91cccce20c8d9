"""Answers to `temperature_scaling`: the starter, right ones and wrong ones."""

# %% starter
import torch
import torch.nn.functional as F


def temperature(logits, label):
    ...

# %% solution
import torch
import torch.nn.functional as F


def temperature(logits, label):
    low, high = 0.01, 1000.0
    z = logits.double()
    target = z.gather(1, label[:, None])[:, 0]
    for _ in range(60):
        middle = (low * high) ** 0.5
        expected = (z * F.softmax(z / middle, 1)).sum(1)
        if (expected - target).mean() < 0:  # too hot
            high = middle
        else:
            low = middle
    return middle

# %% right: tries many temperatures
import numpy as np
import torch.nn.functional as F


def temperature(logits, label):
    return min(
        np.geomspace(0.05, 100, 1500),
        key=lambda t: F.cross_entropy(logits / t, label).item(),
    )

# %% right: golden section in NumPy, with a stable logarithm
import numpy as np


def temperature(logits, label):
    z, y = logits.numpy().astype(float), label.numpy()
    z = z - z.max(1, keepdims=True)

    def loss(log_t):
        scaled = z / np.exp(log_t)
        log_sum = np.log(np.exp(scaled).sum(1))
        return (log_sum - scaled[np.arange(len(y)), y]).mean()

    a, b, ratio = np.log(0.04), np.log(120.0), (5**0.5 - 1) / 2
    for _ in range(60):
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        a, b = (a, d) if loss(c) < loss(d) else (c, b)
    return np.exp((a + b) / 2)

# %% right: L-BFGS on 1/T, from the scale of the logits, as a tensor
import torch
import torch.nn.functional as F


def temperature(logits, label):
    scale = logits.std().double()
    z = logits.double() / scale
    beta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([beta], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(z * beta, label)
        loss.backward()
        return loss

    optimizer.step(closure)
    return (scale / beta)[0].detach()

# %% wrong: 1/T
import numpy as np
import torch.nn.functional as F


def temperature(logits, label):
    return min(
        np.geomspace(0.01, 20, 1500),
        key=lambda t: F.cross_entropy(logits * t, label).item(),
    )

# %% wrong: softens the probabilities, not the logits
import numpy as np
import torch
import torch.nn.functional as F


def temperature(logits, label):
    p = torch.softmax(logits, 1)
    return min(
        np.geomspace(0.05, 100, 1500),
        key=lambda t: F.cross_entropy(p / t, label).item(),
    )

# %% wrong: minimizes the calibration error
import numpy as np
import torch


def temperature(logits, label):
    def error(t):
        confidence, guess = torch.softmax(logits / t, 1).max(1)
        right, total = (guess == label).float(), 0.0
        for low in np.arange(0, 1, 0.1):
            bin = (confidence > low) & (confidence <= low + 0.1)
            if bin.any():
                gap = (confidence[bin].mean() - right[bin].mean()).abs()
                total += bin.float().mean() * gap
        return float(total)

    return min(np.geomspace(0.05, 100, 300), key=error)

# %% wrong: the best accuracy
import numpy as np
import torch


def temperature(logits, label):
    def accuracy(t):
        return ((logits / t).argmax(1) == label).float().mean().item()

    return max(np.geomspace(0.05, 100, 300), key=accuracy)

# %% wrong: only above 1
import numpy as np
import torch.nn.functional as F


def temperature(logits, label):
    return min(
        np.geomspace(1, 100, 1500),
        key=lambda t: F.cross_entropy(logits / t, label).item(),
    )

# %% wrong: a grid of equal steps
import numpy as np
import torch.nn.functional as F


def temperature(logits, label):
    return min(
        np.arange(0.1, 100, 0.1),
        key=lambda t: F.cross_entropy(logits / t, label).item(),
    )

# %% wrong: overflows
import numpy as np


def temperature(logits, label):
    z, y = logits.numpy(), label.numpy()

    def loss(t):
        with np.errstate(all="ignore"):
            e = np.exp(z / np.float32(t))
            p = e / e.sum(1, keepdims=True)
            total = -np.log(p[np.arange(len(y)), y]).mean()
        return total

    return min(np.geomspace(0.05, 100, 1500), key=loss)

# %% wrong: too few steps of gradient descent
import torch
import torch.nn.functional as F


def temperature(logits, label):
    t = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([t], lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(logits / t, label).backward()
        optimizer.step()
    return t.item()

# %% wrong: a range that is too narrow
import numpy as np
import torch.nn.functional as F


def temperature(logits, label):
    grid = np.geomspace(0.14, 75, 2000)
    return grid[np.argmin([F.cross_entropy(logits / t, label).item() for t in grid])]
