"""Parameters that are spread over processes (FSDP2): gathered for what needs them whole.

An average and AdamW's update are element by element: each process does its own shard.
A matrix can be orthogonalized only as a whole, so its update is gathered, computed by
every process alike, and each keeps its part.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

if dist.is_available():
    from torch.distributed.tensor import DTensor, Replicate, Shard
else:  # a build of PyTorch without it has no sharded parameters either
    DTensor = Replicate = Shard = ()


def local(x: Tensor) -> Tensor:
    """This process's part of `x`."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(part: Tensor, p: Tensor) -> Tensor:
    """The tensor of which `part`, shaped as `local(p)`, is this process's part."""
    if not isinstance(p, DTensor):
        return part
    layout = {"shape": p.shape, "stride": p.stride()}
    full = DTensor.from_local(part, p.device_mesh, p.placements, **layout)
    return full.full_tensor()


def own_part(full: Tensor, p: Tensor) -> Tensor:
    """This process's part of `full`, shaped as `p`, which every process has."""
    if not isinstance(p, DTensor):
        return full
    everywhere = [Replicate()] * p.device_mesh.ndim
    spread = DTensor.from_local(full, p.device_mesh, everywhere)
    return spread.redistribute(placements=p.placements).to_local()


def agreed(fine: bool, parameters: Sequence[Tensor]) -> bool:
    """`fine` if it is so on every process that holds a part of the parameters."""
    if not any(isinstance(p, DTensor) for p in parameters):
        return fine
    flag = torch.tensor(float(fine), device=local(parameters[0]).device)
    dist.all_reduce(flag, dist.ReduceOp.MIN)
    return bool(flag)


def check_layout(name: str, p: Tensor) -> None:
    """Refuse what cannot be updated rightly: flattened shards, rows cut in pieces."""
    if getattr(p, "_is_flat_param", False):
        raise ValueError(
            f"params must keep their shapes; {name} is flattened by "
            f"FullyShardedDataParallel: use torch.distributed.fsdp.fully_shard."
        )
    if isinstance(p, DTensor):
        cut = [s for s in p.placements if isinstance(s, Shard) and s.dim > 0]
        if cut:
            raise ValueError(
                f"params must keep whole rows on each process; {name} is sharded along "
                f"axis {cut[0].dim}: shard along 0."
            )
