"""Batches for training, taken from a dataset or from a `DataLoader`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, default_collate

from ..errors import check_count

Pair = tuple[Tensor, Tensor]


def batched(
    data: Any, name: str, batch_size: int | None, usual: int
) -> "DatasetBatches | LoaderBatches":
    """Wrap `data` as a source of batches.

    Args:
        data: an object with a `batch(index)` method, a map-style dataset, or a
            `DataLoader`.
        name: the name of the argument, for error messages.
        batch_size: the number of examples per batch. If None, a loader uses its own
            batch size and a dataset uses `usual`.

    Raises:
        TypeError: if `data` has an unsupported type or no length.
        ValueError: if `data` is empty, or if `batch_size` is given for a loader, which
            already has one.
    """
    is_loader = isinstance(data, DataLoader)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    if is_loader and batch_size is not None:
        raise ValueError(
            f"batch_size must be omitted when {name} is a DataLoader, which has its "
            f"own batch size; got {batch_size}."
        )
    try:
        length = len(data)
    except TypeError as error:
        raise TypeError(
            f"{name} must be a dataset or a DataLoader with a known length; got a "
            f"{type(data).__name__} without one."
        ) from error
    if not length:
        unit = "batch" if is_loader else "example"
        raise ValueError(f"{name} must contain at least one {unit}; got none.")
    if is_loader:
        return LoaderBatches(data, name)
    return DatasetBatches(data, name, batch_size or usual)


class DatasetBatches:
    """Batches that are sliced from a dataset.

    Attributes:
        examples: the number of examples in the dataset.
        batch_size: the number of examples in a training batch.
        per_epoch: the number of batches in one pass; an incomplete last batch is
            dropped.
    """

    def __init__(self, data: Any, name: str, batch_size: int):
        self.data, self.name, self.examples = data, name, len(data)
        self.batch_size = min(batch_size, self.examples)
        self.per_epoch = self.examples // self.batch_size

    def shuffled(self, count: int, generator: torch.Generator) -> Iterator[Pair]:
        """Return the first `count` batches after shuffling the examples."""
        order = torch.randperm(self.examples, generator=generator)
        return map(self._batch, order.split(self.batch_size)[:count])

    def ordered(self) -> Iterator[Pair]:
        """Yield all examples in batches, in their original order."""
        for start in range(0, self.examples, self.batch_size):
            yield self._batch(slice(start, start + self.batch_size))

    def _batch(self, index: Tensor | slice) -> Pair:
        if hasattr(self.data, "batch"):
            return self.data.batch(index)
        if isinstance(self.data, TensorDataset):
            return _pair(self.data[index], self.name)
        rows = torch.arange(self.examples)[index].tolist()
        return _pair(default_collate([self.data[row] for row in rows]), self.name)


class LoaderBatches:
    """Batches from a `DataLoader`, with the same attributes as `DatasetBatches`."""

    def __init__(self, loader: DataLoader[Any], name: str):
        self.loader, self.name, self.batch_size = loader, name, loader.batch_size
        self.per_epoch = len(loader)
        dataset: Any = loader.dataset  # has a length, because the loader has one
        self.examples = len(dataset)

    def shuffled(self, count: int, generator: torch.Generator) -> Iterator[Pair]:
        """Return the first `count` batches in the loader's own order.

        The argument `generator` is ignored. A loader without its own generator uses
        PyTorch's global one.
        """
        return islice(self.ordered(), count)

    def ordered(self) -> Iterator[Pair]:
        """Return an iterator over all batches."""
        return (_pair(batch, self.name) for batch in self.loader)


def _pair(batch: Any, name: str) -> Pair:
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        got = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch)
        raise TypeError(f"{name} must yield pairs (inputs, labels); got {got}.")
    inputs, labels = batch
    return inputs, labels
