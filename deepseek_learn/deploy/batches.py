"""Calibration batches, converted to the named arrays that ONNX Runtime takes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .runtimes import ordered

if TYPE_CHECKING:
    import onnx


def feed(proto: "onnx.ModelProto", batch: Any, at: int) -> dict[str, np.ndarray]:
    """Convert a batch to named arrays, and check them against the model's inputs."""
    from onnx import helper

    ports = list(proto.graph.input)
    tensors = ordered(batch, [port.name for port in ports])
    if len(tensors) != len(ports):
        raise ValueError(
            f"calibration batch {at} must hold {len(ports)} tensors, like the example; "
            f"got {len(tensors)}."
        )
    feeds = {}
    for port, array in zip(ports, tensors, strict=True):
        kind = port.type.tensor_type
        sizes = [d.dim_value or None for d in kind.shape.dim]  # None means any size
        fits = array.ndim == len(sizes) and all(
            size in (None, n) for size, n in zip(sizes, array.shape, strict=True)
        )
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if 0 in array.shape[:1]:
            raise ValueError(
                f"calibration batch {at} must hold at least one sample; got the shape "
                f"{list(array.shape)}."
            )
        if not fits or array.dtype != dtype:
            shape = ", ".join("any" if size is None else str(size) for size in sizes)
            raise ValueError(
                f"calibration batch {at} must be {dtype} [{shape}] like the example; "
                f"got {array.dtype} {list(array.shape)}."
            )
        feeds[port.name] = array
    return feeds


def first_batches(batches: Iterable[dict], samples: int) -> list[dict[str, np.ndarray]]:
    """Return the first batches that contain `samples` inputs in total, or more."""
    selection, count = [], 0
    for batch in batches:
        if count < samples:
            selection.append(batch)
        count += len(next(iter(batch.values())))
    return selection


class BatchReader:
    """An iterator over the calibration batches, as required by the calibrator."""

    def __init__(self, batches: Iterable[dict[str, np.ndarray]]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
