"""Answers to `count_the_cost`: the starter, right ones and wrong ones."""

# %% starter
def cost(C, N, d):
    ...

# %% solution
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% right: the crossing from the quadratic formula
import math


def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    a, b, c = 2 * d, 4 * C * d - 9 * C, -2 * C * (C // 8)
    root = (math.sqrt(b**2 - 4 * a * c) - b) / (2 * a)
    return [sc(N), attention(N), max(math.floor(root) + 1, 1)]

# %% right: NumPy integers
import numpy as np


def cost(C, N, d):
    C, N, d = np.int64(C), np.int64(N), np.int64(d)
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    n = np.arange(1, 5000)
    return np.array([sc(N), attention(N), n[attention(n) > sc(n)][0]])

# %% right: returns a tensor
import torch


def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return torch.tensor([sc(N), attention(N), crossing])

# %% wrong: the scores but not the weighted sum
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: the bottleneck at every position
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8) * n

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: fractional crossing, where both costs are equal
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    return sc(N), attention(N), (9 * C - 4 * C * d) / (2 * d)

# %% wrong: C / 8
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C / 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: C / 8, with the product rounded
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + round(2 * C * (C / 8))

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: crossing where both costs are equal
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) < sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: crossing at 2 or more
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 2
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: crossing one too early
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing - 1

# %% wrong: output projection omitted
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 3 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return sc(N), attention(N), crossing

# %% wrong: returns floats
def cost(C, N, d):
    def sc(n):
        return 9 * C * n + 2 * C * (C // 8)

    def attention(n):
        return 4 * C * d * n + 2 * d * n**2

    crossing = 1
    while attention(crossing) <= sc(crossing):
        crossing += 1
    return float(sc(N)), float(attention(N)), crossing
