"""Assign parameters to update rules, based on their function in the model.

A matrix that carries activations from one layer to the next is orthogonalized.
Embeddings, heads and norms use AdamW, because an embedding is a table of rows, the
outputs of a head are classes, and the weights of a norm form a vector. The shape alone
cannot distinguish an embedding from any other matrix, so the modules of the model are
used, or the names of the parameters if the modules are not available.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .sharded import check_layout

ROLES = ("matrix", "adamw", "rows")
ROWS = ("rarely active rows", "rarely active neurons")
# names of layers and parameters, used if the modules do not determine the role
HEAD = re.compile(r"\w*head|classifier")
TABLE = re.compile(r"\w*emb\w*|\w*table|wte|wpe|tokens?|\w+_tokens?|pos|positions?")
FUSED = re.compile(r"(^|[._])(qkv|in_proj|in_proj_weight)([._]|$)")


def listed(params: Any, rarely_active: Any = None) -> list[Any]:
    """Convert the `params` argument of `DeepOpt` to a list of parameter groups.

    An iterator is read only once. If `params` is a model, its group also has "facts"
    about the model's modules.

    Raises:
        TypeError: if `params` is a tensor, not iterable, or a set, whose order is not
            reproducible.
    """
    if isinstance(params, nn.Module):
        facts = facts_of(params, rarely_active)
        return [{"params": list(params.named_parameters()), "facts": facts}]
    if isinstance(params, Tensor):
        raise TypeError(_not_ordered(params))
    entries = _ordered(params)
    return (
        entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    )


def with_list(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the group whose "params" entry is a list.

    Raises:
        TypeError: if the group is not a dict, or for the same "params" as `listed`,
            except that one tensor is accepted.
        ValueError: if "params" is missing, or an iterator that yields nothing.
    """
    if not isinstance(group, dict):
        raise TypeError(
            f'params: a group must be a dict with "params"; got a '
            f"{type(group).__name__}."
        )
    if "params" not in group:
        raise ValueError(
            f'params: a group must be a dict with "params"; got {group!r}.'
        )
    params = group["params"]
    entries = [params] if isinstance(params, Tensor) else _ordered(params)
    if not entries and isinstance(params, Iterator):
        raise ValueError(
            "params: the iterator of a group yielded no parameters, as one does that "
            "has been read before; pass a list instead."
        )
    return group | {"params": entries}


def _ordered(params: Any) -> list[Any]:
    if isinstance(params, set | frozenset) or not isinstance(params, Iterable):
        raise TypeError(_not_ordered(params))
    return list(params)


def _not_ordered(params: Any) -> str:
    return (
        f"params must be a model, its named_parameters(), a list of tensors or a list "
        f"of groups; got a {type(params).__name__}."
    )


def facts_of(model: nn.Module, rarely_active: Any = None) -> dict[Tensor, str]:
    """Return the kind of each parameter, as determined by its module.

    The last linear layer or convolution, in registration order, is assumed to be the
    head.

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
            head = weight  # the last layer so far
        elif isinstance(module, nn.Linear):
            facts.setdefault(weight, "layer")  # a tied weight stays an "embedding"
            head = weight
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            facts[weight] = "norm"  # not a matrix, even if it is 2-D
        if name in low and (low[name] == 2).double().mean() > 0.5:
            facts[weight] = ROWS[1]
    # a tied head is an "embedding" already
    if head is not None and facts[head] in ("kernel", "layer"):
        facts[head] = "head"
    return facts


def _weight(module: nn.Module) -> Tensor | None:
    """Return the parameter from which `module.weight` is computed, or None.

    For an ordinary layer, this is `module.weight` itself. Pruned, weight-normalized and
    other parametrized layers recompute their weight on each access, and the trained
    parameter has a different name.
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
    """Split a group into one group per role, and add the matrix `shapes` to each.

    Args:
        group: a dict with "params", optionally "facts", and the user's options.
        asked: a mapping from name patterns to the roles that the user requested.
        seen: the parameters of all other groups. The parameters of this group are added
            to the set.

    Raises:
        TypeError: if an entry is neither a tensor nor a pair of a name and a tensor.
        ValueError: if a parameter is complex or appears twice, if only some parameters
            have names, or if a role is unknown.
    """
    parts: dict[str, dict[str, Any]] = {}
    options = {k: v for k, v in group.items() if k not in ("params", "facts")}
    _warn_of_bare(group["params"])
    if len({isinstance(entry, tuple) for entry in group["params"]}) > 1:
        raise ValueError("params must all have names, or none of them; some have none.")
    for entry in group["params"]:
        name, p = _named(entry)
        if p in seen:
            raise ValueError(
                f"params must hold each parameter once; {name} appears twice."
            )
        if p.is_complex():
            raise ValueError(
                f"params must be real; {name} is {p.dtype}. Convert it with "
                f"torch.view_as_real."
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


def _named(entry: Any) -> tuple[str, Tensor]:
    """Return the name of a parameter, or a substitute, and the parameter."""
    match entry:
        case Tensor():
            return "a parameter", entry
        case (str(name), Tensor() as p) if isinstance(entry, tuple):
            return name, p
    got = type(entry).__name__
    if isinstance(entry, tuple):
        got += f" of ({', '.join(type(part).__name__ for part in entry)})"
    raise TypeError(f"params must hold tensors, or pairs (name, tensor); got a {got}.")


def _warn_of_bare(entries: list) -> None:
    if any(isinstance(p, Tensor) and p.dim() > 1 for p in entries):
        warnings.warn(
            "DeepOpt received parameters without names, so it cannot tell embeddings "
            "and the head from other matrices and orthogonalizes all of them. Pass the "
            "model or model.named_parameters() instead.",
            stacklevel=6,
        )


def place(
    name: str, p: Tensor, facts: Mapping[Tensor, str], asked: Mapping[str, str]
) -> tuple[str, tuple[int, int, int], str]:
    """Return the role of a parameter, its `(matrices, m, n)`, and a short reason."""
    fact = facts.get(p, "")
    # without modules, assume that the 3-D weight of a layer belongs to a Conv1d
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
    """Return `(matrices, m, n)`, the stack of matrices that a parameter is treated as.

    A kernel of shape `[out, in, ...]` is treated as one matrix of shape
    `[out, in * ...]`, and a fused projection of queries, keys and values as three
    matrices. A 3-D parameter that is not known to be a kernel is treated as a batch of
    matrices, such as the weights of several experts.
    """
    if p.dim() < 2:
        return 1, 1, p.numel()
    if (
        p.dim() == 3 and "kernel" not in fact and fact != "head"
    ):  # a Conv1d may be a head
        count, rows, columns = p.shape
        return count, rows, columns
    rows, columns = p.shape[0], p.shape[1:].numel()
    if FUSED.search(name) and rows == 3 * columns:
        return 3, columns, columns
    return 1, rows, columns


def names_of(group: Mapping[str, Any]) -> list[str]:
    """Return the names of a group's parameters, as far as they have any."""
    return group.get("param_names") or ["a parameter"] * len(group["params"])
