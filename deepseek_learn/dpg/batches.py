"""Validate and unpack calibration batches, and run a model on them."""

import inspect
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


Input = Tensor | list[Tensor] | tuple[Any, ...] | Mapping[str, Any]


def input_of(batch: Any, model: nn.Module | None) -> Input:
    """Extract the model input from a batch.

    The input is a tensor, a list of tensors, such as the images for a detector, a tuple
    of positional arguments, or a mapping of keyword arguments. Of a batch `(x, y)`, y is
    an argument if `model.forward` requires two, and a label if it requires one. A list
    of tensors counts as an input only inside a batch, `([image, image], targets)`.
    Without a model, the input is the first element of a batch.

    Raises:
        TypeError: if the batch holds no tensors, or fewer than `model` requires.
    """
    count = 0 if model is None else _required(model)
    if isinstance(batch, tuple | list) and count > 1:
        if len(batch) < count or not all(map(_is_input, batch[:count])):
            raise TypeError(
                f"batches must contain the {count} inputs that {type(model).__name__} "
                f"requires; got {len(batch)} elements, "
                f"{', '.join(type(each).__name__ for each in batch)}."
            )
        return tuple(batch[:count])
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    values = list(first.values()) if isinstance(first, Mapping) else [first]
    if not any(map(_is_input, values)):
        raise TypeError(
            f"batches must contain tensors, tuples that begin with one or with a list "
            f"of tensors, or mappings of arguments; got a {type(first).__name__}."
        )
    return list(first) if isinstance(first, tuple) else first


def _required(model: nn.Module) -> int:
    """Return the number of arguments that a model cannot be called without."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 0
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)


def _is_input(value: Any) -> bool:
    tensors = value if isinstance(value, list | tuple) else [value]
    return bool(tensors) and all(isinstance(each, Tensor) for each in tensors)


def run(model: nn.Module, inputs: Input) -> Any:
    """Call a model with its inputs, as `input_of` returns them."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def scores_of(
    model: nn.Module,
    batch: Input,
    logits: Callable[[nn.Module, Any], Tensor] | None,
    shared: SharedState,
) -> tuple[Tensor, int]:
    """Run the model on a batch and return its logits and the number of samples.

    The logits have shape `[positions, classes]` and dtype float32. Positions that are
    excluded by the attention mask are dropped.
    """
    first: Any = batch[0] if isinstance(batch, tuple) else batch
    mask = None
    if isinstance(batch, Mapping):
        first = next(filter(_is_input, batch.values()))
        mask = batch.get("attention_mask")
    shared.mask = None if mask is None else mask.bool()
    if logits is not None:
        scores = logits(model, batch)
    else:
        scores = run(model, batch)
        scores = getattr(scores, "logits", scores)
    if not isinstance(scores, Tensor):
        raise TypeError(
            f"model must return logits as a tensor; got a {type(scores).__name__}. "
            f"Pass logits= to extract them."
        )
    if shared.mask is not None and shared.mask.shape == scores.shape[:-1]:
        scores = scores[shared.mask]
    return scores.reshape(-1, scores.shape[-1]).float(), len(first)
