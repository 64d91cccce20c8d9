"""The three rules by which `DeepOpt` changes parameters, one function each.

A rule gets the group's options, the parameters that have a gradient with the shapes they
are seen as, and the optimizer's state, in which it keeps its averages.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..machine import multiplies_bfloat16
from . import moments
from .orthogonal import balance, orthogonalize
from .sharded import local, own_part, whole

RMS = 0.2  # of AdamW's updates, about
# multiplications m * m * n below which bfloat16's conversions cost more than it saves,
SMALL = 2**19
LONG = (
    4  # and n / m from which, on a processor, float32's shorter way is the faster one
)
BATCH = 2**24  # elements orthogonalized together: bounds the memory in between

Shape = tuple[int, int, int]  # matrices, m, n
State = MutableMapping[Tensor, dict[str, Any]]


def move_matrices(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    """Orthogonalized momentum; all matrices of one shape are computed together."""
    # no more than BATCH at a time; the sort is stable, so it is alike on every process
    batch, size = [], 0
    for p, shape in sorted(parameters, key=lambda pair: tuple(pair[1])):
        if batch and size + p.numel() > BATCH:
            _move_batch(group, batch, state)
            batch, size = [], 0
        batch.append((p, tuple(shape)))
        size += p.numel()
    if batch:
        _move_batch(group, batch, state)


def _move_batch(group, batch: list[tuple[Tensor, Shape]], state: State) -> None:
    weights, states = [local(p) for p, _ in batch], [state[p] for p, _ in batch]
    shapes = [shape for _, shape in batch]
    for kept, w, shape in zip(states, weights, shapes, strict=True):
        if not kept:
            _allocate_matrix(kept, w, shape, group["state"])
    mu = momentum_at(group)
    g = [_flat(_downhill(local(p.grad), group), s) for p, s in batch]  # each [rows, n]
    momentum = moments.read(states, "momentum")
    torch._foreach_lerp_(momentum, g, 1 - mu)
    moments.write(states, "momentum", momentum)
    u = torch._foreach_lerp(g, momentum, mu)
    step = _directions(group, batch, weights, u, states)
    w = [_flat(w, shape).float() for w, shape in zip(weights, shapes, strict=True)]
    agree = torch._foreach_mul(step, w)
    for x in agree:
        x.gt_(0)  # 1 where the decay and the update pull the same way
    torch._foreach_mul_(step, [RMS * math.sqrt(max(shape[1:])) for shape in shapes])
    torch._foreach_addcmul_(step, w, agree, value=group["weight_decay"])
    step = [x.view(w.shape) for x, w in zip(step, weights, strict=True)]
    _subtract(weights, step, float(group["lr"]))


def _downhill(gradient: Tensor, group: Mapping[str, Any]) -> Tensor:
    """The gradient in float32 of what is minimized: the negative loss to maximize it."""
    g = gradient.float()
    return -g if group["maximize"] else g


def _allocate_matrix(kept: dict, w: Tensor, shape: Shape, kind: str) -> None:
    moments.allocate(kept, "momentum", _flat(w, shape), kind)
    matrices, m, n = shape
    one_each = (matrices, m, 1) if m >= n else (matrices, 1, n)
    kept["square"] = w.new_zeros(one_each, dtype=torch.float32)


def _flat(x: Tensor, shape: Shape) -> Tensor:
    """`[rows, n]`: of a shard, the rows that are here."""
    return x.reshape(-1, shape[2])


def _directions(group, batch, weights, u: list[Tensor], states) -> list[Tensor]:
    """What `direction` makes of each `u`; shards are gathered for it."""
    alike = defaultdict(list)
    for i, (p, shape) in enumerate(batch):
        alike[shape, p.device].append(i)
    found = list(u)
    for (shape, _), places in alike.items():
        parts = [whole(u[i].view(weights[i].shape), batch[i][0]) for i in places]
        squares = [states[i]["square"] for i in places]
        many = len(places) > 1
        x = torch.stack(parts) if many else parts[0]
        square = torch.cat(squares) if many else squares[0]
        rule = _compiled() if group["compiled"] else direction
        o, square = rule(x.reshape(-1, *shape[1:]), square, group["beta2"])
        torch._foreach_copy_(squares, square.split(shape[0]))
        for i, x in zip(places, o.split(shape[0]), strict=True):
            p = batch[i][0]
            found[i] = _flat(own_part(x.reshape(p.shape), p), shape)
    return found


def direction(u: Tensor, square: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Matrices `[K, m, n]` orthogonalized and balanced, float32, and the new square."""
    short, long = sorted(u.shape[1:])
    worth = u.is_cuda or (long < LONG * short and short * short * long >= SMALL)
    half = worth and multiplies_bfloat16(u.device)
    dtype = torch.bfloat16 if half else torch.float32
    return balance(orthogonalize(u, dtype).float(), square, beta2)


@cache
def _compiled() -> Callable:
    """`direction` compiled; as it is from the first failure to compile on."""
    compiled, failed = None, False

    def rule(*arguments):
        nonlocal compiled, failed
        if not failed:
            try:
                compiled = compiled or torch.compile(direction, dynamic=True)
                return compiled(*arguments)
            except RuntimeError as error:  # as all of torch's compilation errors are
                failed = True
                _warn_of_failure(error)
        return direction(*arguments)

    return rule


def _warn_of_failure(error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0]
    warnings.warn(
        f"compiled=True: torch.compile failed ({reason}), so matrices are updated "
        f"without it, to the same result. It needs a C++ compiler, and PyTorch in a "
        f"folder whose path has no space; PyTorch's is {Path(torch.__file__).parent}.",
        stacklevel=2,
    )


def momentum_at(group: Mapping[str, Any]) -> float:
    """The momentum of the group's step, from 1 on: rising in a line, then constant.

    Schedulers that cycle the momentum write it where AdamW has its first beta, in all
    groups, and leave their bounds beside it.
    """
    if "max_momentum" in group:
        return group["betas"][0]
    last, warmup = group["momentum"], group["momentum_warmup"]
    first = min(group["first_momentum"], last)
    return first + (last - first) * min(group["step"] / max(warmup, 1), 1.0)


def move_adamw(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    r"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), one variance a row.

    .. math:: p \leftarrow (1 - \eta\lambda)\,p - \eta\,
              \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    where `v` averages the squared gradients of one row of an embedding or a head (Zhang
    et al. 2024, "Adam-mini", arXiv 2406.16793), of one entry of a vector.
    """
    if not parameters:
        return
    weights = [local(p) for p, _ in parameters]
    gradients = [_downhill(local(p.grad), group) for p, _ in parameters]
    states = [state[p] for p, _ in parameters]
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    for kept, w in zip(states, weights, strict=True):
        if not kept:
            moments.allocate(kept, "mean", w, group["state"])
            kept["square"] = torch.zeros_like(_square(w), dtype=torch.float32)
            kept["updates"] = 0
        kept["updates"] += 1
    mean, square = moments.read(states, "mean"), [kept["square"] for kept in states]
    torch._foreach_lerp_(mean, gradients, 1 - beta1)
    torch._foreach_lerp_(square, [_square(g) for g in gradients], 1 - beta2)
    moments.write(states, "mean", mean)
    if group["adamw_weight_decay"]:
        torch._foreach_mul_(weights, 1 - lr * group["adamw_weight_decay"])
    # both corrections in the root: with r = sqrt(1 - beta2^t), that of the variance,
    # (sqrt(v) + eps r) (1 - beta1^t) / r
    times = [kept["updates"] for kept in states]
    corrections = [math.sqrt(1 - beta2**t) for t in times]
    root = torch._foreach_sqrt(square)
    torch._foreach_add_(root, [group["eps"] * r for r in corrections])
    both = zip(corrections, times, strict=True)
    torch._foreach_mul_(root, [(1 - beta1**t) / r for r, t in both])
    if all(w.dtype == torch.float32 for w in weights):
        torch._foreach_addcdiv_(weights, mean, root, value=-lr)
    else:
        _subtract(weights, torch._foreach_div(mean, root), lr)


def _square(g: Tensor) -> Tensor:
    """Squares, of a table the mean of each row's."""
    if g.dim() < 2:
        return g.square()
    return g.square().mean(tuple(range(1, g.dim())), keepdim=True)


def move_rows(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    r"""Rows that have a gradient in this step move; the others stay as they are.

    .. math:: v \leftarrow \beta_2 v + (1 - \beta_2)\,\mathrm{mean}(g^2), \quad
              p \leftarrow p - \eta\, g / (\sqrt{v} + \epsilon)

    One number a row is kept, which begins as the first `mean(g^2)`: between two steps of
    a row that is rarely active, a momentum would have grown old.
    """
    beta2 = group["betas"][1]
    for p, _ in parameters:
        w, gradient, kept = local(p), local(p.grad).flatten(1), state[p]
        if not kept:
            kept["square"] = w.new_zeros(len(w), 1, dtype=torch.float32)
        rows = gradient.abs().amax(1).nonzero()[:, 0]
        g = _downhill(gradient[rows], group)  # [R, n]
        now, square = g.square().mean(1, keepdim=True), kept["square"][rows]
        square = torch.where(square == 0, now, square.lerp(now, 1 - beta2))
        kept["square"][rows] = square
        step = g / (square.sqrt() + group["eps"])
        step = step.view(-1, *w.shape[1:]).to(w.dtype)
        w.index_add_(0, rows, step, alpha=-float(group["lr"]))


def _subtract(weights: list[Tensor], steps: list[Tensor], lr: float) -> None:
    """`w -= lr * step`, in the weights' own precision."""
    if any(w.dtype != torch.float32 for w in weights):
        steps = [step.to(w.dtype) for step, w in zip(steps, weights, strict=True)]
    torch._foreach_add_(weights, steps, alpha=-lr)
