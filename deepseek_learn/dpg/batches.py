"""Validate and unpack calibration batches, and run a model on them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .statistics import SharedState


def check_batches(batches: Iterable[Any]) -> None:
    """Raise TypeError if `batches` is a single batch instead of a list of batches.

    Iterating over a single batch would treat each of its rows as a batch.
    """
    if isinstance(batches, Tensor | Mapping):
        kind = type(batches).__name__
        raise TypeError(
            f"batches must be a list of batches or a loader; got a single {kind}. "
            f"Pass [batch] instead."
        )


def input_of(batch: Any) -> Tensor | list[Tensor] | Mapping[str, Any]:
    """Extract the model input from a batch.

    The input is a tensor, a list of tensors, such as the images for a detector, or a
    mapping of keyword arguments. A list of tensors counts as an input only inside a
    batch, `([image, image], targets)`: `[x, y]` itself is a pair of inputs and labels.
    """
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    values = list(first.values()) if isinstance(first, Mapping) else [first]
    if not any(map(_is_input, values)):
        raise TypeError(
            f"batches must contain tensors, tuples that begin with one or with a list "
            f"of tensors, or mappings of arguments; got a {type(first).__name__}."
        )
    return list(first) if isinstance(first, tuple) else first


def _is_input(value: Any) -> bool:
    tensors = value if isinstance(value, list | tuple) else [value]
    return bool(tensors) and all(isinstance(each, Tensor) for each in tensors)


def scores_of(
    model: nn.Module,
    batch: Tensor | list[Tensor] | Mapping[str, Any],
    logits: Callable[[nn.Module, Any], Tensor] | None,
    shared: SharedState,
) -> tuple[Tensor, int]:
    """Run the model on a batch and return its logits and the number of samples.

    The logits have shape `[positions, classes]` and dtype float32. Positions that are
    excluded by the attention mask are dropped.
    """
    first: Any = batch
    mask = None
    if isinstance(batch, Mapping):
        first = next(filter(_is_input, batch.values()))
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
