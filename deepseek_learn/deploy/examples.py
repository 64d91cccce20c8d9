"""Batches in the form of the example: for storing, for timing, and from loaders."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from .runtimes import tensors

SAMPLES = 8  # number of samples whose outputs are stored


def samples(
    inputs: Sequence[Any], batch: int, dynamic: bool
) -> tuple[torch.Tensor, ...]:
    """Return about `SAMPLES` inputs for the self-check, in whole batches.

    Args:
        inputs: the example, followed by the calibration batches.
        batch: the size of a batch.
        dynamic: whether the model accepts other batch sizes than the example's.
    """
    target_count = -(-SAMPLES // batch) * batch if dynamic else batch
    batches: list[list[torch.Tensor]] = []
    count = 0
    sizes = [t.shape[1:] for t in tensors(inputs[0])]
    for candidate in inputs:
        if [t.shape[1:] for t in tensors(candidate)] != sizes:
            continue  # skip batches of a different length
        batches.append(tensors(candidate))
        count += len(batches[-1][0])
        if count >= target_count:
            break
    rows = torch.arange(min(target_count, count - count % batch or batch))
    columns = zip(*batches, strict=True)
    joined = [torch.cat([t.detach().cpu() for t in column]) for column in columns]
    return tuple(t[rows % count] for t in joined)


def resized(example: Any, batch: int) -> Any:
    """Return the example, repeated or cut to the given batch size."""

    def resize(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value[torch.arange(batch) % len(value)]

    return tree_map(resize, example)


def like(example: Any, batch: Any) -> Any:
    """Convert a batch to the structure of the example.

    This is needed for loaders, which return lists instead of tuples.
    """
    if isinstance(example, tuple) and isinstance(batch, list):
        batch = tuple(batch)
    named = isinstance(example, dict) and isinstance(batch, dict)
    if named and {*batch} == {*example}:
        batch = {name: batch[name] for name in example}
    return tree_map(on_cpu, batch)


def on_cpu(value: Any) -> Any:
    """Return a detached copy of a tensor on the CPU; return other values unchanged."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
