"""Answers to `count_in_a_stream`: the starter, right ones and wrong ones."""

# %% starter
import torch


class ActivityCount:
    def __init__(self):
        ...

    def update(self, y):
        ...

    def frequency(self):
        ...

# %% solution
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% right: a running mean, weighted
import torch


class ActivityCount:
    def __init__(self):
        self.mean, self.n = 0.0, 0

    def update(self, y):
        n = y.numel() // y.shape[1]
        self.n += n
        now = (y > 0).double().mean((0, 2, 3))
        self.mean = self.mean + (now - self.mean) * n / self.n

    def frequency(self):
        return self.mean.clone()

# %% right: lists of Python integers
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = [], 0

    def update(self, y):
        rows = y.transpose(0, 1).flatten(1).tolist()
        new = [[v > 0 for v in row] for row in rows]
        active = self.active or [0] * len(new)
        self.active = [sum(row) + old for row, old in zip(new, active)]
        self.positions += len(new[0])

    def frequency(self):
        shares = [n / self.positions for n in self.active]
        return torch.tensor(shares, dtype=torch.float64)

# %% right: a module with buffers
import torch


class ActivityCount(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("active", torch.zeros(()))
        self.positions = 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3), dtype=torch.float64)
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return torch.nn.Parameter(self.active / self.positions)

# %% wrong: the mean of the batches' means
import torch


class ActivityCount:
    def __init__(self):
        self.means = []

    def update(self, y):
        self.means.append((y > 0).double().mean((0, 2, 3)))

    def frequency(self):
        return torch.stack(self.means).mean(0)

# %% wrong: all batches kept
import torch


class ActivityCount:
    def __init__(self):
        self.batches = []

    def update(self, y):
        self.batches.append(y.transpose(0, 1).flatten(1))

    def frequency(self):
        return (torch.cat(self.batches, 1) > 0).double().mean(1)

# %% wrong: batches kept until queried
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions, self.batches = 0, 0, []

    def update(self, y):
        self.batches.append(y.clone())

    def frequency(self):
        self.active = self.active + sum((y > 0).sum((0, 2, 3)) for y in self.batches)
        self.positions += sum(y.numel() // y.shape[1] for y in self.batches)
        self.batches.clear()
        return self.active.double() / self.positions

# %% wrong: all batches kept by the class
import torch


class ActivityCount:
    batches = []

    def __init__(self):
        pass

    def update(self, y):
        ActivityCount.batches.append((self, y.tolist()))

    def frequency(self):
        kept = [torch.tensor(y) for owner, y in self.batches if owner is self]
        every = torch.cat([y.transpose(0, 1).flatten(1) for y in kept], 1)
        return (every > 0).double().mean(1)

# %% wrong: all batches kept by the module
import numpy as np
import torch

KEPT = {}
import torch


class ActivityCount:
    def __init__(self):
        pass

    def update(self, y):
        old = KEPT.get(self, np.empty((y.shape[1], 0), bool))
        new = (y > 0).transpose(0, 1).flatten(1).numpy()
        KEPT[self] = np.append(old, new, 1)

    def frequency(self):
        return torch.from_numpy(KEPT[self].mean(1))

# %% wrong: the counts of each batch kept
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = [], 0

    def update(self, y):
        self.active.append((y > 0).sum((0, 2, 3)))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return sum(self.active).double() / self.positions

# %% wrong: resets when queried
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        result = self.active.double() / self.positions
        self.active, self.positions = 0, 0
        return result

# %% wrong: accumulates again when queried
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        self.active = self.active.double() / self.positions
        return self.active

# %% wrong: modifies the batch
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        y.clamp_(min=0)
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: counts in one byte
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3), dtype=torch.uint8)
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: counts in two bytes
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3), dtype=torch.int16)
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: counts in half precision
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).half().sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: tiny positive values not active
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 1e-6).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: a float32 share
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active / self.positions

# %% wrong: a float32 share cast to float64
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return (self.active / self.positions).double()

# %% wrong: a single position squeezed out
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y.squeeze() > 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: divided by the number of images
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y > 0).sum((0, 2, 3))
        self.positions += len(y)

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: zero counted as active
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = self.active + (y >= 0).sum((0, 2, 3))
        self.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: the last batch only
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active = (y > 0).sum((0, 2, 3))
        self.positions = y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: all channels together
import torch


class ActivityCount:
    def __init__(self):
        self.active, self.positions = 0, 0

    def update(self, y):
        self.active += (y > 0).sum()
        self.positions += y.numel()

    def frequency(self):
        return self.active.double() / self.positions

# %% wrong: counts shared by all counters
import torch


class ActivityCount:
    active = positions = 0

    def __init__(self):
        pass

    def update(self, y):
        ActivityCount.active = ActivityCount.active + (y > 0).sum((0, 2, 3))
        ActivityCount.positions += y.numel() // y.shape[1]

    def frequency(self):
        return self.active.double() / self.positions
