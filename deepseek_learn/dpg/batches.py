"""What a batch of calibration inputs may be, and how a model is called with it."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from .statistics import Shared


def check_batches(batches: Iterable) -> None:
    """Refuse one batch in place of several: it would be taken apart along its rows."""
    if isinstance(batches, Tensor | Mapping):
        kind = type(batches).__name__
        raise TypeError(
            f"batches must be a list of batches, or a loader; got one {kind}: "
            f"write [batch]."
        )


def input_of(batch) -> Tensor | Mapping:
    """The input of a batch: what the model is called with."""
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    held = list(first.values()) if isinstance(first, Mapping) else [first]
    if not any(isinstance(each, Tensor) for each in held):
        raise TypeError(
            f"batches must hold tensors, or tuples that begin with one, or mappings "
            f"of arguments; got a {type(first).__name__}."
        )
    return first


def scores_of(model, batch, logits, shared: Shared) -> tuple[Tensor, int]:
    """Logits `[positions, classes]` in float32, and how many samples they are of."""
    named = isinstance(batch, Mapping)
    first = next(x for x in batch.values() if isinstance(x, Tensor)) if named else batch
    mask = batch.get("attention_mask") if named else None
    shared.mask = None if mask is None else mask.bool()
    if logits is not None:
        answer = logits(model, batch)
    else:
        answer = model(**batch) if named else model(batch)
        answer = getattr(answer, "logits", answer)
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"model must answer with logits, a tensor; got a {type(answer).__name__}. "
            f"Say how to come by them with logits=."
        )
    if shared.mask is not None and shared.mask.shape == answer.shape[:-1]:
        answer = answer[shared.mask]
    return answer.reshape(-1, answer.shape[-1]).float(), len(first)
