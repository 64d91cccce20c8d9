"""Choose the rule that updates a parameter by its shape and its function in the model.

A matrix that carries activations from one layer to the next is orthogonalized. An
embedding is a table of rows, a head's outputs are classes and a norm's weights are
vectors: these use AdamW. A shape cannot tell an embedding from a matrix, so the rule
comes from the model's modules, or from the names of named parameters.
"""

import re
import warnings
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .sharded import check_layout

ROLES = ("matrix", "adamw", "rows")
ROWS = ("rarely active rows", "rarely active neurons")
# names of layers and bare parameters, used where no module decides
HEAD = re.compile(r"\w*head|classifier")
TABLE = re.compile(r"\w*emb\w*|\w*table|wte|wpe|tokens?|\w+_tokens?|pos|positions?")
FUSED = re.compile(r"(^|[._])(qkv|in_proj|in_proj_weight)([._]|$)")


def listed(params: Any, rarely_active: Any = None) -> list[dict[str, Any]]:
    """Return the input of `DeepOpt` as groups, with a list "params" and module "facts".

    Raises:
        ValueError: if it holds no parameters.
        TypeError: if it is a tensor, or a set, whose order is not reproducible.
    """
    if isinstance(params, Tensor | set):
        raise TypeError(
            f"params must be a model, its named_parameters() or a list of groups; "
            f"got a {type(params).__name__}."
        )
    if isinstance(params, nn.Module):
        facts = facts_of(params, rarely_active)
        entries = [{"params": list(params.named_parameters()), "facts": facts}]
    else:
        entries = list(params)
        if entries and not isinstance(entries[0], dict):
            entries = [{"params": entries}]
    if not any(len(group["params"]) for group in map(_with_list, entries)):
        raise ValueError("params must hold at least one parameter; got none.")
    return [_with_list(group) for group in entries]


def _with_list(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group with its parameters as a list, whatever they were."""
    if not isinstance(group, Mapping) or "params" not in group:
        raise ValueError(
            f'params: a group must be a dict with "params"; got {group!r}.'
        )
    params = group["params"]
    if isinstance(params, Tensor):
        params = [params]
    group = dict(group)
    group["params"] = params if isinstance(params, list) else list(params)
    return group


def facts_of(model: nn.Module, rarely_active: Any = None) -> dict[Tensor, str]:
    """Map each parameter to its kind, according to its module.

    The head is the last linear layer or convolution in the order of registration.

    Args:
        rarely_active: None, True or `dpg.Groups`; see `DeepOpt`.
    """
    facts: dict[Tensor, str] = {}
    low = getattr(rarely_active, "group", {})
    head = None
    for name, module in model.named_modules():
        weight = _weight(module)
        if weight is None:
            continue
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            facts[weight] = ROWS[0] if rarely_active else "embedding"
        elif isinstance(module, _ConvNd):
            facts[weight] = "grouped kernel" if module.groups > 1 else "kernel"
            head = weight
        elif isinstance(module, nn.Linear):
            facts.setdefault(weight, "layer")  # stays "embedding" if tied
            head = weight
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            facts[weight] = "norm"  # maybe 2-D, but not a matrix
        if name in low and (low[name] == 2).double().mean() > 0.5:
            facts[weight] = ROWS[1]
    if head is not None and facts[head] in ("kernel", "layer"):
        facts[head] = "head"
    return facts


def _weight(module: nn.Module) -> Tensor | None:
    """Return the parameter that is `module.weight`, or from which it is computed.

    Pruned, weight-normed and otherwise parametrized layers recompute their weight at
    each access; the trained parameter has another name.
    """
    parameters = dict(module.named_parameters(recurse=False))
    parametrizations: Any = getattr(module, "parametrizations", {})
    if "weight" in parametrizations:
        source = parametrizations["weight"]
        parameters |= dict(source.named_parameters(recurse=False))
    names = ("weight", "weight_orig", "weight_v", "original", "original1")
    return next((parameters[name] for name in names if name in parameters), None)


def divide(
    group: Mapping[str, Any], asked: Mapping[str, str], seen: set[Tensor]
) -> list[dict[str, Any]]:
    """Split a group into one group per role, with the `shapes` of its matrices.

    Args:
        group: "params", optionally "facts", and the user's options for them.
        asked: name pattern → the role that the user wants.
        seen: the parameters in other groups; those of this one are added.

    Raises:
        ValueError: if a parameter is duplicate or complex, or if a role is unknown.
    """
    parts: dict[str, dict[str, Any]] = {}
    options = {k: v for k, v in group.items() if k not in ("params", "facts")}
    _warn_of_bare(group["params"])
    for entry in group["params"]:
        name, p = entry if isinstance(entry, tuple) else ("a parameter", entry)
        if not isinstance(p, Tensor):
            raise TypeError(f"params must hold tensors; got a {type(p).__name__}.")
        if p in seen:
            raise ValueError(
                f"params must hold each parameter once; {name} appears twice."
            )
        if p.is_complex():
            raise ValueError(
                f"params must be real; {name} is {p.dtype}: pass torch.view_as_real of "
                f"it."
            )
        seen.add(p)
        role, shape, reason = place(name, p, group.get("facts", {}), asked)
        check_layout(name, p)
        empty = {"role": role, "params": [], "shapes": [], "reasons": []}
        part = parts.setdefault(role, options | empty)
        part["params"].append(entry)
        part["shapes"].append(shape)
        part["reasons"].append(reason)
    return list(parts.values())


def _warn_of_bare(entries: list) -> None:
    if any(isinstance(p, Tensor) and p.dim() > 1 for p in entries):
        warnings.warn(
            "DeepOpt got parameters without names: it cannot tell embeddings and the "
            "head from other matrices, and orthogonalizes them all. Pass the model, "
            "or model.named_parameters().",
            stacklevel=6,
        )


def place(
    name: str, p: Tensor, facts: Mapping[Tensor, str], asked: Mapping[str, str]
) -> tuple[str, tuple[int, int, int], str]:
    """Return the role, `(matrices, m, n)` and a short reason for one parameter."""
    fact = facts.get(p, "")
    # without modules: a layer's 3-D weight most likely belongs to a Conv1d
    guess = "" if facts or not f".{name}".endswith(".weight") else "kernel"
    shape = matrices(name, p, fact or guess)
    for pattern, role in asked.items():
        if fnmatch(name, pattern):
            if role not in ROLES or (role != "adamw" and p.dim() < 2):
                raise ValueError(
                    f"roles must map a pattern to one of {ROLES}, and a vector to "
                    f"adamw; got {role!r} for {name}."
                )
            return role, shape, "as asked"
    if p.dim() < 2 or min(shape[1:]) < 2:
        return "adamw", shape, "vector"
    if fact not in ("", "kernel", "layer"):
        return ("rows" if fact in ROWS else "adamw"), shape, fact
    leaf = name.removesuffix(".weight").rpartition(".")[2]
    if HEAD.fullmatch(leaf) or (not fact and TABLE.fullmatch(leaf)):
        return "adamw", shape, "name"
    return "matrix", shape, fact or "matrix"


def matrices(name: str, p: Tensor, fact: str = "") -> tuple[int, int, int]:
    """Return `(matrices, m, n)`: the stack of matrices that a parameter is treated as.

    A kernel `[out, in, ...]` is one matrix `[out, in * ...]`; a fused projection of
    queries, keys and values is three; a 3-D parameter that is not known to be a kernel
    is a batch of matrices (experts).
    """
    if p.dim() < 2:
        return 1, 1, p.numel()
    if p.dim() == 3 and "kernel" not in fact and fact != "head":
        count, rows, columns = p.shape
        return count, rows, columns
    rows, columns = p.shape[0], p.shape[1:].numel()
    if FUSED.search(name) and rows == 3 * columns:
        return 3, columns, columns
    return 1, rows, columns
