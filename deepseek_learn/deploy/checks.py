"""The wizard's argument checks, which run before any work where possible."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .destinations import Target
from .runtimes import tensors

if TYPE_CHECKING:
    import onnx

# dtypes that the engine reads
READ = (torch.float32, torch.uint8, torch.int64, torch.int32, torch.bool)
TYPES = "float32, uint8, int64, int32 or bool"


def folder(path: Path, overwrite: bool) -> None:
    """Reject a nonempty folder, unless it is a deployment and `overwrite` is set.

    Raises:
        FileExistsError: if `path` is a file or such a folder; the message says what to
            do instead.
    """
    if path.is_file():
        raise FileExistsError(f"out must be a folder; {path} is a file.")
    if not path.exists() or not any(path.iterdir()):
        return
    if not is_deployment(path):
        raise FileExistsError(
            f"out must be a new or empty folder; {path} holds files that are not "
            f"a deployment, and they are never replaced."
        )
    if not overwrite:
        raise FileExistsError(
            f"out must be a new or empty folder; {path} holds a deployment: give "
            f"overwrite=True to replace it."
        )


def is_deployment(folder: Path) -> bool:
    """Return whether the wizard wrote this folder, judging by its report and model."""
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return False
    is_report = isinstance(report, dict) and {"target", "lines", "files"} <= {*report}
    return is_report and (folder / "model.onnx").exists()


def example(given: Any) -> None:
    """Reject an example that the engine cannot read.

    Raises:
        ValueError: if there is no tensor, or one has no batch axis or the wrong dtype.
    """
    inputs = tensors(given)
    if not inputs or any(t.dim() == 0 for t in inputs):
        raise ValueError(
            "example must hold tensors whose first axis is the batch; got "
            f"{'one without axes' if inputs else 'no tensor'}."
        )
    for tensor in inputs:
        if tensor.dtype not in READ:
            raise ValueError(f"example must hold {TYPES} tensors; got {tensor.dtype}.")


def preparation(
    mean: Sequence[float], std: Sequence[float], given: Sequence[torch.Tensor]
) -> dict[str, list[float]]:
    """Return the `mean` and `std` with which the engine normalizes images, if given.

    Raises:
        ValueError: if a value is not a finite number, a `std` is not above 0 in
            float32, there is neither one value nor one per channel, or the example
            holds no image.
    """
    normalization = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    normalization = {name: values for name, values in normalization.items() if values}
    if any(value <= 0 for value in normalization.get("std", ())):
        raise ValueError(f"std must be above 0; got {normalization['std']}.")
    images = [t.shape for t in given if t.dim() == 4 and t.dtype == torch.float32]
    channels = next((shape[1] for shape in images if shape[1] in (1, 3)), None)
    for name, values in normalization.items():
        if channels is None:
            raise ValueError(
                f"{name} is for float32 images [N, C, H, W] of 1 or 3 channels, and the "
                f"example holds none."
            )
        if len(values) not in (1, channels):
            raise ValueError(
                f"{name} must be one number, or {channels}, one per channel; got "
                f"{len(values)}."
            )
    return normalization


def _numbers(name: str, given: Sequence[float]) -> list[float]:
    """Round the numbers to float32, as the engine reads them."""
    try:
        with np.errstate(over="ignore"):
            values = [float(np.float32(value)) for value in given]
    except (TypeError, ValueError):
        values = [float("nan")]
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be a sequence of finite numbers, one per channel; got {given!r}."
        )
    return values


def ports(proto: "onnx.ModelProto") -> None:
    """Reject a model with an input or output that the engine cannot read.

    Raises:
        ValueError: if there is one; the message names it.
    """
    from onnx import helper

    read = [str(dtype).removeprefix("torch.") for dtype in READ]
    for port in (*proto.graph.input, *proto.graph.output):
        kind = port.type.tensor_type.elem_type
        name = str(helper.tensor_dtype_to_np_dtype(kind)) if kind else "no tensor"
        if name not in read:
            raise ValueError(
                f"inputs and outputs of the model must be {TYPES} tensors; {port.name} "
                f"is {name}."
            )


def batch(given: Any, own: int | None) -> None:
    """Reject a batch below 1, or one that differs from the model's fixed batch `own`.

    Raises:
        ValueError: if the batch is rejected; the message says which batch is accepted.
    """
    if not isinstance(given, int) or given < 1:
        raise ValueError(f"batch must be a whole number from 1; got {given!r}.")
    if own is not None and given != own:
        raise ValueError(
            f"batch must be {own}, the example's, with dynamic_batch=False; got {given}."
        )


def precision(asked: str | None, target: Target, given: dict[str, Any]) -> str:
    """Return the requested precision, or the target's first if none is requested.

    Args:
        given: what INT8 requires, by name; None if the wizard does not have it.

    Raises:
        ValueError: if the precision is unsupported, or INT8 lacks a requirement.
    """
    choice = asked or target.precisions[0]
    if choice not in target.precisions:
        names = ", ".join(target.precisions)
        raise ValueError(
            f"precision must be one of {names} for {target.name}; got {choice!r}."
        )
    missing = [name for name, value in given.items() if value is None]
    if choice != "int8" or not missing:
        return choice
    other = next((p for p in target.precisions if p != "int8"), None)
    instead = f', or precision="{other}"' if other else ""
    raise ValueError(
        f"int8 needs {' and '.join(missing)}, which the wizard was not given: batches to "
        f"calibrate with, and points on held-out data{instead}."
    )


def no_sequence_axis(given: Any) -> None:
    """Reject a sequence axis for an .onnx file.

    Raises:
        ValueError: if an axis is given.
    """
    if given is not None:
        raise ValueError(
            "sequence_axis is only for PyTorch models; an .onnx file itself declares which "
            "axes are dynamic."
        )


def outputs(answers: Sequence[np.ndarray], size: int) -> None:
    """Reject a model with an output whose first axis is not the batch of `size`.

    Raises:
        ValueError: if there is such an output; the message says which one.
    """
    for at, y in enumerate(answers):
        if y.ndim == 0 or len(y) != size:
            raise ValueError(
                f"output {at} of the model must have the batch as its first axis; it is "
                f"{list(y.shape)} for a batch of {size}."
            )
