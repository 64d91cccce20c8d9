"""Data-parallel training under `torchrun`, which divides each batch among processes."""

import atexit
import os
from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


class ProcessGroup:
    """The processes that train a model together, or a single process.

    Under `torchrun` (when `WORLD_SIZE` is above 1), this class initializes a process
    group unless one already exists. The backend is NCCL for a model on a GPU and gloo
    otherwise. The group is destroyed only when the program exits, because a second
    training run could not initialize it again. Each process receives every `size`-th
    example of a batch. The gradients are averaged, so all processes keep the same
    weights.
    """

    def __init__(self, model: nn.Module):
        self.model, self.device = model, next(model.parameters()).device
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), 0
        joined = dist.is_available() and dist.is_initialized()
        if self.size > 1 and not joined:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(_destroy_group)
        if self.size > 1 or joined:
            self.size, self.rank = dist.get_world_size(), dist.get_rank()

    def data_parallel(self) -> nn.Module:
        """Return the model, wrapped so that the processes average their gradients."""
        return DistributedDataParallel(self.model) if self.size > 1 else self.model

    def check(self, batch_size: int | None) -> None:
        """Raise a ValueError if batches cannot be divided evenly among the processes.

        A `batch_size` of None stands for a `DataLoader`.
        """
        if self.size == 1:
            return
        if batch_size is None:
            raise ValueError(
                f"train must be a dataset when {self.size} processes share its "
                f"batches; got a DataLoader, whose order may differ between processes."
            )
        if batch_size % self.size:
            raise ValueError(
                f"batch_size (or the size of the training set, if smaller) must be a "
                f"multiple of the number of processes ({self.size}); got {batch_size}."
            )

    def shard(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Return the examples of a batch that this process handles."""
        return [x[self.rank :: self.size] for x in tensors]

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar across all processes."""
        value = value.detach().float()
        if self.size > 1:
            value = value / self.size
            dist.all_reduce(value)
        return value.item()

    def broadcast(self, value: Value) -> Value:
        """Return the value from rank 0 in every process.

        For example, all processes use rank 0's clock to decide when to stop.
        """
        if self.size > 1:
            values = [value]
            dist.broadcast_object_list(values, device=self.device)
            return values[0]
        return value

    def share_buffers(self) -> None:
        """Copy buffers, such as running statistics, from rank 0 to every process."""
        if self.size > 1:
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
