"""Data-parallel training in the processes that `torchrun` starts."""

import atexit
import os
from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Team:
    """The process group of a training run; in a single process it does nothing.

    Under `torchrun` (`WORLD_SIZE` above 1) it initializes a process group, unless there is
    one: gloo, or NCCL for a model on a GPU. The group is destroyed only when the program
    ends, because a second run could not join again. Each process takes every `size`-th
    example of a batch; gradients are averaged, so that all keep the same weights.
    """

    def __init__(self, model: nn.Module):
        self.model, self.device = model, next(model.parameters()).device
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), 0
        joined = dist.is_available() and dist.is_initialized()
        if self.size > 1 and not joined:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(_leave)
        if self.size > 1 or joined:
            self.size, self.rank = dist.get_world_size(), dist.get_rank()

    def wrapped(self) -> nn.Module:
        """The model, wrapped so that its backward pass averages the gradients."""
        return DistributedDataParallel(self.model) if self.size > 1 else self.model

    def check(self, batch_size: int | None) -> None:
        """Reject a batch size that does not divide evenly; None means a `DataLoader`."""
        if self.size > 1 and batch_size is None:
            raise ValueError(
                f"train must be a dataset in {self.size} processes, which split its "
                f"batches; got a DataLoader, whose order may differ between them."
            )
        if self.size > 1 and batch_size % self.size:
            raise ValueError(
                f"batch_size, or the size of the training set if that is smaller, must be "
                f"a multiple of the {self.size} processes; got {batch_size}."
            )

    def part(self, *tensors: Tensor) -> Sequence[Tensor]:
        """This process's share of a batch."""
        return [x[self.rank :: self.size] for x in tensors]

    def mean(self, value: Tensor) -> float:
        """The mean of a number over the processes."""
        value = value.detach().float()
        if self.size > 1:
            value = value / self.size
            dist.all_reduce(value)
        return value.item()

    def first(self, value):
        """Broadcast rank 0's value: it alone decides what depends on a clock or a file."""
        if self.size > 1:
            values = [value]
            dist.broadcast_object_list(values, device=self.device)
            return values[0]
        return value

    def share_buffers(self) -> None:
        """Broadcast rank 0's buffers (running statistics) to all processes."""
        if self.size > 1:
            for buffer in self.model.buffers():
                dist.broadcast(buffer, 0)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
