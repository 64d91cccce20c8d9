"""The three update rules of `DeepOpt`, each implemented as a function.

Each rule takes the options of a group, the parameters that have a gradient (with the
matrix shapes they are treated as), and the optimizer state, where it stores its moving
averages.
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

RMS = 0.2  # approximate root mean square of an AdamW update
# value of m * m * n below which converting to bfloat16 costs more than it saves
SMALL = 2**19
LONG = 4  # n / m ratio from which the shorter float32 algorithm is faster on a CPU
BATCH = 2**24  # maximum number of elements orthogonalized together, to limit memory use

Shape = tuple[int, int, int]  # matrices, m, n
State = MutableMapping[Tensor, dict[str, Any]]


def move_matrices(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    """Update matrices with orthogonalized momentum, batching those of equal shape."""
    # at most BATCH elements at a time; the sort is stable, so all processes agree on it
    batch: list[tuple[Tensor, Shape]] = []
    size = 0
    for p, shape in sorted(parameters, key=lambda pair: tuple(pair[1])):
        if batch and size + p.numel() > BATCH:
            _move_batch(group, batch, state)
            batch, size = [], 0
        matrices, m, n = shape  # a list after loading a state
        batch.append((p, (matrices, m, n)))
        size += p.numel()
    if batch:
        _move_batch(group, batch, state)


def _move_batch(
    group: Mapping[str, Any], batch: list[tuple[Tensor, Shape]], state: State
) -> None:
    # Each list has one tensor per parameter. A `foreach` function processes a whole
    # list and, on a GPU, launches one kernel instead of one per parameter.
    # 1. get the state of each parameter, and allocate it on the first step
    weights, states = [local(p) for p, _ in batch], [state[p] for p, _ in batch]
    shapes = [shape for _, shape in batch]
    for entry, w, shape in zip(states, weights, shapes, strict=True):
        if not entry:
            _allocate_matrix(entry, w, shape, group["state"])
    # 2. update the momentum M <- mu M + (1 - mu) G and compute its Nesterov look-ahead
    # (1 - mu) G + mu M in float32; `momentum` is a copy if the state has fewer bits
    mu = momentum_at(group)
    g = [_flat(_downhill(_gradient(p), group), s) for p, s in batch]  # each [rows, n]
    momentum = moments.read(states, "momentum")
    torch._foreach_lerp_(momentum, g, 1 - mu)
    moments.write(states, "momentum", momentum)
    u = torch._foreach_lerp(g, momentum, mu)
    # 3. orthogonalize and balance, the only step that needs more than the local rows
    step = _directions(group, batch, weights, u, states)  # each [rows, n]
    # 4. apply weight decay only where it has the same sign as the update
    flat = [_flat(w, shape).float() for w, shape in zip(weights, shapes, strict=True)]
    mask = torch._foreach_mul(step, flat)
    for x in mask:
        x.gt_(0)
    # an orthogonal m x n matrix has a root mean square of 1 / sqrt(max(m, n))
    torch._foreach_mul_(step, [RMS * math.sqrt(max(shape[1:])) for shape in shapes])
    torch._foreach_addcmul_(step, flat, mask, value=group["weight_decay"])
    # 5. reshape the updates like the weights and apply them
    step = [x.view(w.shape) for x, w in zip(step, weights, strict=True)]
    _subtract(weights, step, float(group["lr"]))


def _gradient(p: Tensor) -> Tensor:
    """Return the local part of the gradient of `p`, which must have one."""
    assert p.grad is not None
    return local(p.grad)


def _downhill(gradient: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return the gradient in float32, with the opposite sign if maximizing."""
    g = gradient.float()
    return -g if group["maximize"] else g


def _allocate_matrix(entry: dict, w: Tensor, shape: Shape, kind: str) -> None:
    moments.allocate(entry, "momentum", _flat(w, shape), kind)
    matrices, m, n = shape
    square_shape = (matrices, m, 1) if m >= n else (matrices, 1, n)
    entry["square"] = w.new_zeros(square_shape, dtype=torch.float32)


def _flat(x: Tensor, shape: Shape) -> Tensor:
    """Reshape `x` to `[rows, n]`. A shard contains only the local rows."""
    return x.reshape(-1, shape[2])


def _directions(
    group: Mapping[str, Any],
    batch: Sequence[tuple[Tensor, Shape]],
    weights: Sequence[Tensor],
    u: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
) -> list[Tensor]:
    """Compute the update direction for each `u`, gathering shards if necessary."""
    by_shape = defaultdict(list)
    for i, (p, shape) in enumerate(batch):
        by_shape[shape, p.device].append(i)
    directions = list(u)
    for (shape, _), indices in by_shape.items():
        parts = [whole(u[i].view(weights[i].shape), batch[i][0]) for i in indices]
        squares = [states[i]["square"] for i in indices]
        many = len(indices) > 1
        x = torch.stack(parts) if many else parts[0]
        square = torch.cat(squares) if many else squares[0]
        rule = _compiled() if group["compiled"] else direction
        o, square = rule(x.reshape(-1, *shape[1:]), square, group["beta2"])
        torch._foreach_copy_(squares, square.split(shape[0]))
        for i, x in zip(indices, o.split(shape[0]), strict=True):
            p = batch[i][0]
            directions[i] = _flat(own_part(x.reshape(p.shape), p), shape)
    return directions


def direction(u: Tensor, square: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Orthogonalize and balance an update of shape `[K, m, n]`.

    Return the result in float32, together with the updated `square`.
    """
    short, long = sorted(u.shape[1:])
    pays = u.is_cuda or (long < LONG * short and short * short * long >= SMALL)
    use_bfloat16 = pays and multiplies_bfloat16(u.device)
    dtype = torch.bfloat16 if use_bfloat16 else torch.float32
    return balance(orthogonalize(u, dtype).float(), square, beta2)


@cache
def _compiled() -> Callable:
    """Return a compiled version of `direction`.

    If compilation fails, it falls back to the uncompiled function.
    """
    compiled, failed = None, False

    def rule(*arguments: Any) -> Any:
        nonlocal compiled, failed
        if not failed:
            try:
                compiled = compiled or torch.compile(direction, dynamic=True)
                return compiled(*arguments)
            except RuntimeError as error:  # base class of torch's compilation errors
                failed = True
                _warn_of_failure(error)
        return direction(*arguments)

    return rule


def _warn_of_failure(error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0]
    warnings.warn(
        f"compiled=True: torch.compile failed ({reason}), so matrices are updated "
        f"without compilation; the results are the same. Compilation needs a C++ "
        f"compiler, and PyTorch must be installed in a path without spaces (it is in "
        f"{Path(torch.__file__).parent}).",
        stacklevel=2,
    )


def momentum_at(group: Mapping[str, Any]) -> float:
    """Return the momentum for the current step of the group, where the first step is 1.

    The momentum increases linearly during the warmup and stays constant afterwards. A
    scheduler that cycles the momentum writes it to the first AdamW beta of every group
    instead, and stores its bounds in the group.
    """
    if "max_momentum" in group:
        return group["betas"][0]
    last, warmup = group["momentum"], group["momentum_warmup"]
    first = min(group["first_momentum"], last)
    return first + (last - first) * min(group["step"] / max(warmup, 1), 1.0)


def move_adamw(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    r"""Update parameters with AdamW, using one variance per row.

    .. math:: p \leftarrow (1 - \eta\lambda)\,p - \eta\,
              \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    For an embedding or a head, `v` averages the squared gradients over each row (Zhang
    et al. 2024, "Adam-mini", arXiv 2406.16793). For a vector, each entry has its own
    `v`. The update follows Loshchilov & Hutter 2019, "Decoupled weight decay
    regularization", arXiv 1711.05101.
    """
    if not parameters:
        return
    weights = [local(p) for p, _ in parameters]
    gradients = [_downhill(_gradient(p), group) for p, _ in parameters]
    states = [state[p] for p, _ in parameters]
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    for entry, w in zip(states, weights, strict=True):
        if not entry:
            moments.allocate(entry, "mean", w, group["state"])
            entry["square"] = torch.zeros_like(_square(w), dtype=torch.float32)
            entry["updates"] = 0
        entry["updates"] += 1
    mean, square = moments.read(states, "mean"), [entry["square"] for entry in states]
    torch._foreach_lerp_(mean, gradients, 1 - beta1)
    torch._foreach_lerp_(square, [_square(g) for g in gradients], 1 - beta2)
    moments.write(states, "mean", mean)
    if group["adamw_weight_decay"]:
        torch._foreach_mul_(weights, 1 - lr * group["adamw_weight_decay"])
    # fold both bias corrections into the denominator, which then equals
    # (sqrt(v) + eps r) (1 - beta1^t) / r with r = sqrt(1 - beta2^t)
    updates = [entry["updates"] for entry in states]
    corrections = [math.sqrt(1 - beta2**t) for t in updates]
    root = torch._foreach_sqrt(square)
    torch._foreach_add_(root, [group["eps"] * r for r in corrections])
    pairs = zip(corrections, updates, strict=True)
    torch._foreach_mul_(root, [(1 - beta1**t) / r for r, t in pairs])
    if all(w.dtype == torch.float32 for w in weights):
        torch._foreach_addcdiv_(weights, mean, root, value=-lr)
    else:
        _subtract(weights, torch._foreach_div(mean, root), lr)


def _square(g: Tensor) -> Tensor:
    """Return the squares of a vector, or the mean square of each row of a table."""
    if g.dim() < 2:
        return g.square()
    return g.square().mean(tuple(range(1, g.dim())), keepdim=True)


def move_rows(
    group: Mapping[str, Any], parameters: Sequence[tuple[Tensor, Shape]], state: State
) -> None:
    r"""Update only the rows that have a gradient in this step.

    .. math:: v \leftarrow \beta_2 v + (1 - \beta_2)\,\mathrm{mean}(g^2), \quad
              p \leftarrow p - \eta\, g / (\sqrt{v} + \epsilon)

    The state is one number per row, initialized to the first value of `mean(g^2)`.
    There is no momentum, because the momentum of a rarely active row would be stale by
    the next update.
    """
    beta2 = group["betas"][1]
    for p, _ in parameters:
        w, gradient, entry = local(p), _gradient(p).flatten(1), state[p]
        if not entry:
            entry["square"] = w.new_zeros(len(w), 1, dtype=torch.float32)
        rows = gradient.abs().amax(1).nonzero()[:, 0]
        g = _downhill(gradient[rows], group)  # [R, n]
        now, square = g.square().mean(1, keepdim=True), entry["square"][rows]
        square = torch.where(square == 0, now, square.lerp(now, 1 - beta2))
        entry["square"][rows] = square
        step = g / (square.sqrt() + group["eps"])
        step = step.view(-1, *w.shape[1:]).to(w.dtype)
        w.index_add_(0, rows, step, alpha=-float(group["lr"]))


def _subtract(
    weights: list[Tensor], steps: list[Tensor] | tuple[Tensor, ...], lr: float
) -> None:
    """Subtract `lr * step` from each weight, in the precision of the weight."""
    if any(w.dtype != torch.float32 for w in weights):
        steps = [step.to(w.dtype) for step, w in zip(steps, weights, strict=True)]
    torch._foreach_add_(weights, steps, alpha=-lr)
