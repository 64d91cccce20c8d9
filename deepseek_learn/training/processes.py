"""Data-parallel training under `torchrun`: each batch is divided among processes."""

import atexit
import os
from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


class ProcessGroup:
    """The processes that train together; a single process trains as usual.

    Under `torchrun` (`WORLD_SIZE` above 1) it initializes a process group unless there is
    one: gloo, or NCCL for a model on a GPU. The group is destroyed only when the program
    exits, because a second training run could not initialize it again. Each process takes
    every `size`-th example of a batch; gradients are averaged, so that all keep the same
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
        """Return the model whose backward pass averages the gradients."""
        return DistributedDataParallel(self.model) if self.size > 1 else self.model

    def check(self, batch_size: int | None) -> None:
        """Reject batches that cannot be divided evenly; None stands for a loader."""
        if self.size == 1:
            return
        if batch_size is None:
            raise ValueError(
                f"train must be a dataset for {self.size} processes, which divide its "
                f"batches; got a DataLoader, whose order may differ between them."
            )
        if batch_size % self.size:
            raise ValueError(
                f"batch_size, or the training set if that is smaller, must be a multiple "
                f"of the {self.size} processes; got {batch_size}."
            )

    def shard(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Return this process's examples of a batch."""
        return [x[self.rank :: self.size] for x in tensors]

    def mean(self, value: Tensor) -> float:
        """Return the mean of a number over the processes."""
        value = value.detach().float()
        if self.size > 1:
            value = value / self.size
            dist.all_reduce(value)
        return value.item()

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value in every process, so that one clock decides for all."""
        if self.size > 1:
            values = [value]
            dist.broadcast_object_list(values, device=self.device)
            return values[0]
        return value

    def share_buffers(self) -> None:
        """Copy the running statistics of rank 0 to every process."""
        if self.size > 1:
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
