"""Parameters sharded over processes (FSDP2), gathered where a full tensor is needed.

Averages and AdamW's update are element-wise: each process updates its own shard. A matrix
can be orthogonalized only as a whole, so its update is gathered, computed identically by
every process, and each process keeps its part.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING or dist.is_available():
    from torch.distributed.tensor import DTensor, Replicate, Shard
else:  # a build of PyTorch without it has no sharded parameters either
    DTensor = Replicate = Shard = ()


def local(x: Tensor) -> Tensor:
    """Return this process's part of `x`."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(part: Tensor, p: Tensor) -> Tensor:
    """Gather the full tensor from this process's `part`, shaped like `local(p)`."""
    if not isinstance(p, DTensor):
        return part
    full = DTensor.from_local(
        part, p.device_mesh, p.placements, shape=p.shape, stride=p.stride()
    )
    return full.full_tensor()


def own_part(full: Tensor, p: Tensor) -> Tensor:
    """Return this process's part of `full`, which each process has, shaped like `p`."""
    if not isinstance(p, DTensor):
        return full
    everywhere = [Replicate()] * p.device_mesh.ndim
    replicated = DTensor.from_local(full, p.device_mesh, everywhere)
    return replicated.redistribute(placements=p.placements).to_local()


def agreed(fine: bool, parameters: Sequence[Tensor]) -> bool:
    """Return whether `fine` holds on all processes with a part of the parameters."""
    if not any(isinstance(p, DTensor) for p in parameters):
        return fine
    flag = torch.tensor(float(fine), device=local(parameters[0]).device)
    dist.all_reduce(flag, dist.ReduceOp.MIN)
    return bool(flag)


def check_layout(name: str, p: Tensor) -> None:
    """Reject layouts that cannot be updated correctly: flattened shards, split rows."""
    if getattr(p, "_is_flat_param", False):
        raise ValueError(
            f"params must keep their shapes; {name} is flattened by "
            f"FullyShardedDataParallel: use torch.distributed.fsdp.fully_shard."
        )
    if isinstance(p, DTensor):
        shards = [s for s in p.placements if isinstance(s, Shard) and s.dim > 0]
        if shards:
            raise ValueError(
                f"params must keep whole rows on each process; {name} is sharded along "
                f"axis {shards[0].dim}: shard along 0."
            )
