"""Answers to `find_the_poisoned_update`: the starter, right ones and wrong ones."""

# %% starter
import torch


def suspects(updates, factor):
    ...

# %% solution
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] > factor * norms[others].median()):
            found.append(i)
    return found

# %% right: with numpy
import numpy as np


def suspects(updates, factor):
    values = updates.double().numpy()
    good = np.isfinite(values).all(axis=1)
    norms = np.linalg.norm(np.where(good[:, None], values, 0), axis=1)
    result = []
    for i, norm in enumerate(norms):
        rest = np.sort(np.delete(norms, i)[np.delete(good, i)])
        too_large = len(rest) and norm > factor * rest[(len(rest) - 1) // 2]
        if not good[i] or too_large:
            result.append(i)
    return result

# %% right: a tensor
import torch


def suspects(updates, factor):
    bad = ~updates.isfinite().all(dim=1)
    norms = updates.square().sum(1).sqrt()
    for i in range(len(updates)):
        keep = updates.isfinite().all(dim=1)
        keep[i] = False
        if keep.any() and not bad[i]:
            bad[i] = norms[i] > factor * torch.median(norms[keep])
    return bad.nonzero().flatten()

# %% right: the lower median of all, which comes to the same
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.norm(dim=1)
    usual = norms[finite].median() if finite.any() else 0
    return [i for i in range(len(updates)) if not finite[i] or norms[i] > factor * usual]

# %% wrong: the median of all
import numpy as np


def suspects(updates, factor):
    finite = np.isfinite(updates.numpy()).all(1)
    norms = np.linalg.norm(updates.numpy(), axis=1)
    usual = np.median(norms[finite]) if finite.any() else 0
    return [i for i in range(len(norms)) if not finite[i] or norms[i] > factor * usual]

# %% wrong: the mean of the others
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] > factor * norms[others].mean()):
            found.append(i)
    return found

# %% wrong: only what is not finite
import torch


def suspects(updates, factor):
    return [i for i, each in enumerate(updates) if not torch.isfinite(each).all()]

# %% wrong: NaN is not noticed
def suspects(updates, factor):
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i]
        if norms[i] > factor * norms[others].median():
            found.append(i)
    return found

# %% wrong: the largest value, not the norm
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    sizes = updates.abs().amax(1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and sizes[i] > factor * sizes[others].median()):
            found.append(i)
    return found

# %% wrong: infinity is not noticed
import torch


def suspects(updates, factor):
    bad = torch.isnan(updates).any(1)
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and not bad[j]]
        if bad[i] or (others and norms[i] > factor * norms[others].median()):
            found.append(i)
    return found

# %% wrong: the sum of values, not the Euclidean norm
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.abs().sum(1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] > factor * norms[others].median()):
            found.append(i)
    return found

# %% wrong: the squared norm
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.square().sum(1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] > factor * norms[others].median()):
            found.append(i)
    return found

# %% wrong: at least the factor
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] >= factor * norms[others].median()):
            found.append(i)
    return found

# %% wrong: the factor added to the median
import torch


def suspects(updates, factor):
    finite = torch.isfinite(updates).all(1)
    norms = updates.norm(dim=1)
    found = []
    for i in range(len(updates)):
        others = [j for j in range(len(updates)) if j != i and finite[j]]
        if not finite[i] or (others and norms[i] > factor + norms[others].median()):
            found.append(i)
    return found
