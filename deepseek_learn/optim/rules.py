"""The three rules by which `DeepOpt` changes parameters, one function each.

A rule gets the group's options, the parameters that have a gradient with the shapes they
are seen as, and the optimizer's state, in which it keeps its averages.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..machine import multiplies_bfloat16
from . import moments
from .orthogonal import balance, orthogonalise
from .sharded import layout, local, own_part, whole

RMS = 0.2  # of AdamW's updates, about
# multiplications m * m * n below which bfloat16's conversions cost more than it saves
SMALL = 2**19
BATCH = 2**24  # elements orthogonalised together: bounds the memory in between

Shape = tuple[int, int, int]  # matrices, m, n
State = MutableMapping[Tensor, dict[str, Any]]


def move_matrices(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    """Orthogonalised momentum; all matrices of one shape are computed together."""
    alike = defaultdict(list)
    for p, shape in parameters:
        alike[tuple(shape), p.dtype, p.device, layout(p)].append(p)
    for (shape, *_), members in alike.items():
        count = max(BATCH // math.prod(shape), 1)
        for i in range(0, len(members), count):
            _move_alike(group, shape, members[i : i + count], state)


def _move_alike(group, shape: Shape, parameters: list[Tensor], state: State) -> None:
    weights = [local(p) for p in parameters]
    states = [state[p] for p in parameters]
    for kept, w in zip(states, weights, strict=True):
        if not kept:
            _allocate_matrix(kept, w, shape, group["state"])
    mu = momentum_at(group["step"], group)
    g = _stack([_flat(local(p.grad), shape) for p in parameters]).float()
    momentum = moments.read_batch(states, "momentum").lerp_(g, 1 - mu)  # [K, rows, n]
    moments.write(states, "momentum", momentum)
    u = _gathered(torch.lerp(g, momentum, mu), weights, parameters, shape)
    squares = [kept["square"] for kept in states]
    rule = _compiled() if group["compiled"] else direction
    o, square = rule(u, torch.cat(squares), group["beta2"])  # [K * matrices, m, n]
    torch._foreach_copy_(squares, square.split(shape[0]))
    o = _own(o, weights, parameters, shape)  # [K, rows, n]
    w = _stack([_flat(w, shape) for w in weights]).float()
    agree = (o * w).gt_(0)  # 1 where the decay and the update pull the same way
    step = o.mul_(RMS * math.sqrt(max(shape[1:])))
    step.addcmul_(w, agree, value=group["weight_decay"])
    steps = [x.view(p.shape) for x, p in zip(step, weights, strict=True)]
    _subtract(weights, steps, group["lr"])


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """`[K, ...]`, of a single tensor a view."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(tensors)


def _allocate_matrix(kept: dict, w: Tensor, shape: Shape, kind: str) -> None:
    moments.allocate(kept, "momentum", _flat(w, shape), kind)
    matrices, m, n = shape
    one_each = (matrices, m, 1) if m >= n else (matrices, 1, n)
    kept["square"] = w.new_zeros(one_each, dtype=torch.float32)


def _flat(x: Tensor, shape: Shape) -> Tensor:
    """`[rows, n]`: of a shard, the rows that are here."""
    return x.reshape(-1, shape[2])


def _gathered(u: Tensor, weights, parameters, shape: Shape) -> Tensor:
    """`[K, rows, n]` → the whole matrices `[K * matrices, m, n]`."""
    if weights[0] is not parameters[0]:
        parts = zip(u, weights, parameters, strict=True)
        u = torch.stack([whole(x.view(w.shape), p) for x, w, p in parts])
    return u.reshape(-1, *shape[1:])


def _own(o: Tensor, weights, parameters, shape: Shape) -> Tensor:
    """`[K * matrices, m, n]` → `[K, rows, n]`, the rows that are here."""
    if weights[0] is parameters[0]:
        return o.reshape(len(weights), -1, shape[2])
    each = o.reshape(len(weights), *parameters[0].shape)
    parts = zip(each, parameters, strict=True)
    return torch.stack([_flat(own_part(x, p), shape) for x, p in parts])


def direction(u: Tensor, square: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Matrices `[K, m, n]` orthogonalised and balanced, float32, and the new square."""
    short, long = sorted(u.shape[1:])
    worth = short * short * long >= SMALL and multiplies_bfloat16(u.device)
    dtype = torch.bfloat16 if worth else torch.float32
    return balance(orthogonalise(u, dtype).float(), square, beta2)


@cache
def _compiled():
    return torch.compile(direction, dynamic=True)


def momentum_at(step: int, group: Mapping[str, Any]) -> float:
    """The momentum of a step, counted from 1: rising in a line, then constant."""
    last, warmup = group["momentum"], group["momentum_warmup"]
    first = min(group["first_momentum"], last)
    return first + (last - first) * min(step / max(warmup, 1), 1.0)


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
    gradients = [local(p.grad).float() for p, _ in parameters]
    states = [state[p] for p, _ in parameters]
    beta1, beta2 = group["betas"]
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
        torch._foreach_mul_(weights, 1 - group["lr"] * group["adamw_weight_decay"])
    # both corrections in one factor, sqrt(r) / (1 - beta1^t) with r = 1 - beta2^t
    times = [kept["updates"] for kept in states]
    corrections = [math.sqrt(1 - beta2**t) for t in times]
    root = torch._foreach_sqrt(square)
    torch._foreach_add_(root, [group["eps"] * r for r in corrections])
    scales = zip(corrections, times, strict=True)
    step = torch._foreach_mul(mean, [r / (1 - beta1**t) for r, t in scales])
    torch._foreach_div_(step, root)
    _subtract(weights, step, group["lr"])


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
        g = gradient[rows].float()  # [R, n]
        now, square = g.square().mean(1, keepdim=True), kept["square"][rows]
        square = torch.where(square == 0, now, square.lerp(now, 1 - beta2))
        kept["square"][rows] = square
        step = g / (square.sqrt() + group["eps"])
        step = step.view(-1, *w.shape[1:]).to(w.dtype)
        w.index_add_(0, rows, step, alpha=-group["lr"])


def _subtract(weights: list[Tensor], steps: list[Tensor], lr: float) -> None:
    """`w -= lr * step`, in the weights' own precision."""
    if any(w.dtype != torch.float32 for w in weights):
        steps = [step.to(w.dtype) for step, w in zip(steps, weights, strict=True)]
    torch._foreach_add_(weights, steps, alpha=-lr)
