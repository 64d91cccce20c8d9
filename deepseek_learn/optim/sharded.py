"""Support for parameters sharded across processes (FSDP2).

The moving averages and the AdamW update are computed row by row, so each process
updates its own shard. Orthogonalization needs the full matrix. Every process therefore
gathers the matrix, computes the same update, and keeps its own part of it.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(x: Tensor) -> "TypeGuard[DTensor]":
    """Check whether `x` is a DTensor.

    Whoever made one has imported its module. It is not imported here, because that takes
    long, and a build without `torch.distributed` lacks it.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Tensor) -> Tensor:
    """Return the part of `x` that this process stores."""
    return x.to_local() if is_sharded(x) else x


def whole(part: Tensor, p: Tensor) -> Tensor:
    """Gather the full tensor from the local `part`, which is shaped like `local(p)`."""
    if not is_sharded(p):
        return part
    from torch.distributed.tensor import DTensor

    full = DTensor.from_local(
        part, p.device_mesh, p.placements, shape=p.shape, stride=p.stride()
    )
    return full.full_tensor()


def own_part(full: Tensor, p: Tensor) -> Tensor:
    """Return the local part of `full`, sharded like `p`.

    The full tensor must be available on every process.
    """
    if not is_sharded(p):
        return full
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = [Replicate()] * p.device_mesh.ndim
    replicated = DTensor.from_local(full, p.device_mesh, everywhere)
    return replicated.redistribute(placements=p.placements).to_local()


def agreed(fine: bool, parameters: Sequence[Tensor]) -> bool:
    """Check whether `fine` is True on all processes that share the parameters."""
    if not any(map(is_sharded, parameters)):
        return fine
    flag = torch.tensor(float(fine), device=local(parameters[0]).device)
    dist.all_reduce(flag, dist.ReduceOp.MIN)
    return bool(flag)


def check_layout(name: str, p: Tensor) -> None:
    """Reject flattened shards and split rows, which cannot be updated correctly."""
    if getattr(p, "_is_flat_param", False):
        raise ValueError(
            f"params must keep their shapes; {name} is flattened by "
            f"FullyShardedDataParallel. Use torch.distributed.fsdp.fully_shard instead."
        )
    if is_sharded(p):
        from torch.distributed.tensor import Shard

        shards = [s for s in p.placements if isinstance(s, Shard) and s.dim > 0]
        if shards:
            raise ValueError(
                f"params must keep whole rows on each process; {name} is sharded along "
                f"axis {shards[0].dim}. Shard it along axis 0 instead."
            )
