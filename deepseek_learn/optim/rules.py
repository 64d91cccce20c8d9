"""The three update rules of `DeepOpt`, each implemented as a function.

Each rule takes the options of a group, the parameters that have a gradient (with the
matrix shapes they are treated as), and the optimizer state, where it stores its moving
averages.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..machine import has_amx, multiplies_bfloat16
from . import moments
from .orthogonal import balance, orthogonalize
from .sharded import local, own_part, whole

RMS = 0.2  # approximate root mean square of an AdamW update
# On a CPU, the value of m * m * n below which converting to bfloat16 costs more than it
# saves, and the n / m ratio from which the shorter float32 algorithm is faster
SMALL, LONG = 2**19, 4
# The same with AMX, where starting a product takes long: there, K * m * m * m decides
SMALL_AMX, LONG_AMX = 3 * 2**20, 8
BATCH = 2**24  # maximum number of elements orthogonalized together, to limit memory use
CACHED = 2**16  # number of elements for which all operands fit in a core's cache

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
    # 2. update the momentum M <- mu M + (1 - mu) G, store it, and compute its Nesterov
    # look-ahead (1 - mu) G + mu M, all in float32 and in `u`
    mu = momentum_at(group)
    gradients = [_flat(_gradient(p), s) for p, s in batch]  # each [rows, n]
    u = [torch.empty_like(g, dtype=torch.float32) for g in gradients]
    for block in _blocks(u):
        g = [_downhill(gradients[i][rows], group) for i, rows in block]
        parts = [moments.part(states[i], "momentum", rows) for i, rows in block]
        momentum = [u[i][rows] for i, rows in block]
        moments.read(parts, "momentum", momentum)
        torch._foreach_lerp_(momentum, g, 1 - mu)
        moments.write(parts, "momentum", momentum)
        torch._foreach_lerp_(momentum, g, 1 - mu)
    # 3. orthogonalize and balance, the only step that needs more than the local rows
    directions = _directions(group, batch, weights, u, states)  # each [rows, n]
    # 4. scale the update, add weight decay where it has the same sign, and apply both
    flat = [_flat(w, shape) for w, shape in zip(weights, shapes, strict=True)]
    # an orthogonal m x n matrix has a root mean square of 1 / sqrt(max(m, n))
    scales = [RMS * math.sqrt(max(shape[1:])) for shape in shapes]
    for block in _blocks(flat):
        some = [flat[i][rows] for i, rows in block]
        step = [directions[i][rows] for i, rows in block]
        full = [x.float() for x in some]
        mask = torch._foreach_mul(step, full)
        for x in mask:
            x.gt_(0)
        torch._foreach_mul_(step, [scales[i] for i, _ in block])
        torch._foreach_addcmul_(step, full, mask, value=group["weight_decay"])
        _subtract(some, step, float(group["lr"]))
    for w, x in zip(weights, flat, strict=True):
        if not w.is_contiguous():  # then `x` is a copy
            w.copy_(x.view(w.shape))


def _blocks(matrices: Sequence[Tensor]) -> Iterator[list[tuple[int, slice]]]:
    """Divide matrices into blocks of rows; a block is a list of (matrix, its rows).

    On a CPU, a block fits in the cache, so that the operations on it read and write
    main memory only once. On a GPU, one block holds everything.
    """
    block: list[tuple[int, slice]] = []
    size = 0
    for i, x in enumerate(matrices):
        at_once = max(1, CACHED // max(x.shape[1], 1)) if x.is_cpu else max(len(x), 1)
        for first in range(0, len(x), at_once):
            rows = slice(first, first + at_once)
            entries = min(at_once, len(x) - first) * x.shape[1]
            if block and x.is_cpu and size + entries > CACHED:
                yield block
                block, size = [], 0
            block.append((i, rows))
            size += entries
    if block:
        yield block


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
    # 1. Matrices of one shape become one batch of products. A fused projection of queries,
    # keys and values is three matrices of one parameter.
    by_shape = defaultdict(list)
    for i, (p, shape) in enumerate(batch):
        by_shape[shape, p.device].append(i)
    directions = list(u)
    for (shape, _), indices in by_shape.items():
        # 2. Singular values belong to the whole matrix: gather it if it is sharded.
        parts = [whole(u[i].view(weights[i].shape), batch[i][0]) for i in indices]
        squares = [states[i]["square"] for i in indices]
        many = len(indices) > 1
        x = torch.stack(parts) if many else parts[0]
        square = torch.cat(squares) if many else squares[0]
        rule = _compiled() if group["compiled"] else direction
        o, square = rule(x.reshape(-1, *shape[1:]), square, group["beta2"])  # [K, m, n]
        torch._foreach_copy_(squares, square.split(shape[0]))
        # 3. Every process computed the whole direction, and takes its own rows of it.
        for i, x in zip(indices, o.split(shape[0]), strict=True):
            p = batch[i][0]
            directions[i] = _flat(own_part(x.reshape(p.shape), p), shape)
    return directions


def direction(u: Tensor, square: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Orthogonalize and balance an update of shape `[K, m, n]`.

    Return the result in float32, together with the updated `square`.
    """
    dtype = torch.bfloat16 if _faster_in_bfloat16(u) else torch.float32
    return balance(orthogonalize(u, dtype).float(), square, beta2)


def _faster_in_bfloat16(u: Tensor) -> bool:
    """Return whether bfloat16 is the faster format to orthogonalize `u` in."""
    if not multiplies_bfloat16(u.device):
        return False
    short, long = sorted(u.shape[1:])
    if u.is_cuda:
        return True
    if has_amx():
        return len(u) * short**3 >= SMALL_AMX and long < LONG_AMX * short
    return short * short * long >= SMALL and long < LONG * short


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
    # 1. Update the averages, in float32 whatever they are stored in.
    for entry, w in zip(states, weights, strict=True):
        if not entry:
            moments.allocate(entry, "mean", w, group["state"])
            entry["square"] = torch.zeros_like(_square(w), dtype=torch.float32)
            entry["updates"] = 0
        entry["updates"] += 1
    mean = [torch.empty_like(w, dtype=torch.float32) for w in weights]
    moments.read(states, "mean", mean)
    square = [entry["square"] for entry in states]
    torch._foreach_lerp_(mean, gradients, 1 - beta1)
    torch._foreach_lerp_(square, [_square(g) for g in gradients], 1 - beta2)
    moments.write(states, "mean", mean)
    # 2. Decay the weights themselves, not the gradient: the averages must not see it.
    if group["adamw_weight_decay"]:
        torch._foreach_mul_(weights, 1 - lr * group["adamw_weight_decay"])
    # 3. Fold both bias corrections into the denominator, which then equals
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
        rows = gradient.abs().amax(1).nonzero()[:, 0]  # [R], those looked up
        g = _downhill(gradient[rows], group)  # [R, n]
        now, square = g.square().mean(1, keepdim=True), entry["square"][rows]
        # the first value of a row stands for its average: a count of steps for the bias
        # correction would need a second number per row
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
