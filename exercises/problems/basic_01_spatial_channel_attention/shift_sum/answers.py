"""Answers to `shift_sum`: the starter, right ones and wrong ones."""

# %% starter
import torch
import torch.nn.functional as F


def shift_sum(taps):
    ...

# %% solution
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(9):
        row, column = t // 3, t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]

# %% right: without padding
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    total = torch.zeros_like(taps[:, 0])
    for t in reversed(range(9)):
        down, right = t // 3 - 1, t % 3 - 1
        for i in range(height):
            for j in range(width):
                if 0 <= i + down < height and 0 <= j + right < width:
                    total[:, i, j] += taps[:, t, i + down, j + right]
    return total.unsqueeze(1)

# %% right: NumPy in float64, a reversed view
import numpy as np
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    wide = np.pad(taps.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = [wide[:, t, t // 3 :, t % 3 :][:, :height, :width] for t in range(9)]
    return sum(rows)[:, None, ::-1].copy()[:, :, ::-1]

# %% right: a convolution with a kernel of ones and zeros
import torch
import torch.nn.functional as F


def shift_sum(taps):
    kernel = torch.eye(9).view(1, 9, 3, 3).to(taps.dtype)
    return F.conv2d(taps, kernel, padding=1).requires_grad_()

# %% wrong: added without shifting
import torch
import torch.nn.functional as F


def shift_sum(taps):
    return taps.sum(1, keepdim=True)

# %% wrong: shifted the other way
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(9):
        row, column = 2 - t // 3, 2 - t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]

# %% wrong: wraps around at the border
import torch
import torch.nn.functional as F


def shift_sum(taps):
    total = 0
    for t in range(9):
        total = total + taps[:, t : t + 1].roll((1 - t // 3, 1 - t % 3), (2, 3))
    return total

# %% wrong: rows and columns swapped
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(9):
        row, column = t % 3, t // 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]

# %% wrong: one tap missing
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(8):
        row, column = t // 3, t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]

# %% wrong: border replicated
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1), mode="replicate")
    total = 0
    for t in range(9):
        row, column = t // 3, t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return total  # [B, 1, H, W]

# %% wrong: accumulated in place in the middle tap
import torch
import torch.nn.functional as F


def shift_sum(taps):
    height, width = taps.shape[2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    total = 0
    for t in range(9):
        row, column = t // 3, t % 3
        total = total + padded[:, t : t + 1, row : row + height, column : column + width]
    return taps[:, 4:5].copy_(total)  # [B, 1, H, W]
