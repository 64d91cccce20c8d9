"""Answers to `whose_rule`: the starter, right ones and wrong ones."""

# %% starter
from torch import nn


def role(parameter, module, head):
    ...

# %% solution
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: by shape alone
from torch import nn


def role(parameter, module, head):
    return "matrix" if parameter.dim() > 1 else "adamw"

# %% wrong: the head forgotten
from torch import nn


def role(parameter, module, head):
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: embeddings forgotten
from torch import nn


def role(parameter, module, head):
    if head:
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: EmbeddingBag forgotten
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, nn.Embedding):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: grouped convolutions forgotten
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if False:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: depthwise only
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) == getattr(module, "in_channels", 0):
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: a matrix of one row
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2:
        return "adamw"
    return "matrix"

# %% wrong: a side of two counted as a vector
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 3:
        return "adamw"
    return "matrix"

# %% wrong: rows and number of weights
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or parameter.shape[0] < 2 or parameter.numel() < 4:
        return "adamw"
    return "matrix"

# %% wrong: the sides of the kernel
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: input channels as the matrix side
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.shape[:2]) < 2:
        return "adamw"
    return "matrix"

# %% wrong: linear layers only
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if not isinstance(module, nn.Linear):
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: linear layers and convolutions only
from torch import nn


def role(parameter, module, head):
    if head or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    kinds = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d
    return "matrix" if isinstance(module, kinds) else "adamw"

# %% wrong: returns True
from torch import nn


def role(parameter, module, head):
    return parameter.dim() > 1

# %% wrong: only what the head calls its weight
from torch import nn


def role(parameter, module, head):
    if head and parameter is getattr(module, "weight", None):
        return "adamw"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: the bias of the head
from torch import nn


def role(parameter, module, head):
    if head:
        return "matrix" if parameter is getattr(module, "bias", None) else "adamw"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"

# %% wrong: only linear layers as the head
from torch import nn


def role(parameter, module, head):
    if head and isinstance(module, (nn.Linear, nn.Conv2d)):
        return "adamw"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "adamw"
    if getattr(module, "groups", 1) > 1:
        return "adamw"
    if parameter.dim() < 2 or min(parameter.flatten(1).shape) < 2:
        return "adamw"
    return "matrix"
