"""Answers to `bring_them_to_one`: the starter, right ones and wrong ones."""

# %% starter
import torch


def orthogonalize(x, coefficients):
    ...

# %% solution
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% right: never transposed
import torch


def orthogonalize(x, coefficients):
    norm = x.norm()
    x = x / norm if norm > 0 else x.clone()
    for a, b, c in coefficients:
        cube = x @ (x.T @ x)
        x = a * x + b * cube + c * cube @ (x.T @ x)
    return x

# %% right: from the singular values
import torch


def orthogonalize(x, coefficients):
    u, s, v = torch.linalg.svd(x.double(), full_matrices=False)
    s = s / max(s.square().sum().sqrt().item(), 1e-30)
    for a, b, c in coefficients:
        s = a * s + b * s**3 + c * s**5
    return u * s @ v

# %% wrong: the polynomial of each element
import torch


def orthogonalize(x, coefficients):
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        x = a * x + b * x**3 + c * x**5
    return x

# %% wrong: not scaled
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: scaled by the largest singular value
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / torch.linalg.matrix_norm(x, 2).clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: a large epsilon added to the norm
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-3)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: b and c swapped
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (c * gram + b * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: NaN for a matrix of zeros
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm()
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: not transposed back
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x

# %% wrong: the Gram matrix of the first round
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    gram = x @ x.T
    for a, b, c in coefficients:
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: the Gram matrix on the wrong side
import torch


def orthogonalize(x, coefficients):
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x.T @ x
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x

# %% wrong: only the first polynomial
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients[:1]:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: the last polynomial first
import torch


def orthogonalize(x, coefficients):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in reversed(coefficients):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x

# %% wrong: all singular values exactly one
import torch


def orthogonalize(x, coefficients):
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    return u @ v

# %% right: with the usual 1e-7 beside the norm
import torch


def orthogonalize(x, coefficients):
    x = x / (x.norm() + 1e-7)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
