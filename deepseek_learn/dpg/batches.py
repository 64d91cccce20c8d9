"""Validate and unpack calibration batches, and run a model on them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .statistics import SharedState


def check_batches(batches: Iterable) -> None:
    """Raise TypeError if `batches` is a single batch instead of a list of batches.

    Iterating over a single batch would treat each of its rows as a batch.
    """
    if isinstance(batches, Tensor | Mapping):
        kind = type(batches).__name__
        raise TypeError(
            f"batches must be a list of batches or a loader; got a single {kind}. "
            f"Pass [batch] instead."
        )


def input_of(batch: Any) -> Tensor | Mapping:
    """Extract the model input from a batch.

    The input is a tensor or a mapping of keyword arguments.
    """
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    values = list(first.values()) if isinstance(first, Mapping) else [first]
    if not any(isinstance(value, Tensor) for value in values):
        raise TypeError(
            f"batches must contain tensors, tuples that begin with one, or mappings "
            f"of arguments; got a {type(first).__name__}."
        )
    return first


def scores_of(
    model: nn.Module,
    batch: Tensor | Mapping,
    logits: Callable[[nn.Module, Any], Tensor] | None,
    shared: SharedState,
) -> tuple[Tensor, int]:
    """Run the model on a batch and return its logits and the number of samples.

    The logits have shape `[positions, classes]` and dtype float32. Positions that are
    excluded by the attention mask are dropped.
    """
    first, mask = batch, None
    if isinstance(batch, Mapping):
        first = next(x for x in batch.values() if isinstance(x, Tensor))
        mask = batch.get("attention_mask")
    shared.mask = None if mask is None else mask.bool()
    if logits is not None:
        scores = logits(model, batch)
    else:
        scores = model(**batch) if isinstance(batch, Mapping) else model(batch)
        scores = getattr(scores, "logits", scores)
    if not isinstance(scores, Tensor):
        raise TypeError(
            f"model must return logits as a tensor; got a {type(scores).__name__}. "
            f"Pass logits= to extract them."
        )
    if shared.mask is not None and shared.mask.shape == scores.shape[:-1]:
        scores = scores[shared.mask]
    return scores.reshape(-1, scores.shape[-1]).float(), len(first)
