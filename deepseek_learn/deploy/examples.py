"""Batches in the form of the example: for storing, for timing, and from loaders."""

from collections.abc import Mapping, Sequence
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


def like(example: Any, batch: Any, at: int) -> Any:
    """Convert calibration batch `at` to the structure of the example.

    Loaders return lists instead of tuples, and dicts in any order.

    Raises:
        ValueError: if the structures differ otherwise.
    """

    def convert(example: Any, batch: Any) -> Any:
        kinds = [_kind(example), _kind(batch)]
        if kinds == [dict, dict] and {*example} == {*batch}:
            return {name: convert(example[name], batch[name]) for name in example}
        if kinds == [list, list] and len(example) == len(batch):
            make = getattr(example, "_make", type(example))  # of a named tuple
            return make(map(convert, example, batch))
        if kinds in ([torch.Tensor, torch.Tensor], [None, None]):
            return on_cpu(batch)
        raise ValueError(
            f"calibration batch {at} must have the structure of the example, which has "
            f"{_described(example)} where the batch has {_described(batch)}."
        )

    return convert(example, batch)


def _kind(value: Any) -> type | None:
    """Return dict, list (also for tuples), Tensor, or None for any other value."""
    if isinstance(value, Mapping):
        return dict
    if isinstance(value, list | tuple):
        return list
    return torch.Tensor if isinstance(value, torch.Tensor) else None


def _described(value: Any) -> str:
    name = type(value).__name__
    if _kind(value) is dict:
        return f"a {name} of {', '.join(map(str, value)) or 'nothing'}"
    return f"a {name} of {len(value)}" if _kind(value) is list else f"a {name}"


def on_cpu(value: Any) -> Any:
    """Return a detached copy of a tensor on the CPU; return other values unchanged."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
