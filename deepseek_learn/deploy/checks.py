"""Argument checks for the deployment wizard.

Where possible, they run before any work is done.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .destinations import Target
from .runtimes import tensors

if TYPE_CHECKING:
    import onnx

# dtypes that the engine can read
READ = (torch.float32, torch.uint8, torch.int64, torch.int32, torch.bool)
TYPES = "float32, uint8, int64, int32 or bool"


def folder(path: Path, overwrite: bool) -> None:
    """Check that the wizard may write to this folder.

    The folder must be empty, unless it contains a deployment and `overwrite` is True.

    Raises:
        FileExistsError: if `path` is a file, or a folder that must not be overwritten.
            The message explains what to do instead.
    """
    if path.is_file():
        raise FileExistsError(f"out must be a folder; {path} is a file.")
    if not path.exists() or not any(path.iterdir()):
        return
    if not is_deployment(path):
        raise FileExistsError(
            f"out must be a new or empty folder; {path} contains files that are not "
            f"a deployment, and they are never replaced."
        )
    if not overwrite:
        raise FileExistsError(
            f"out must be a new or empty folder; {path} contains a deployment: pass "
            f"overwrite=True to replace it."
        )


def is_deployment(folder: Path) -> bool:
    """Check whether the wizard wrote this folder, based on its report and model."""
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return False
    is_report = isinstance(report, dict) and {"target", "lines", "files"} <= {*report}
    return is_report and (folder / "model.onnx").exists()


def example(given: Any) -> None:
    """Check that the engine can read the example.

    Raises:
        ValueError: if there are no tensors, or if a tensor has no batch axis, no sample
            or an unsupported dtype.
    """
    inputs = tensors(given)
    if not inputs or any(t.dim() == 0 for t in inputs):
        raise ValueError(
            "example must hold tensors whose first axis is the batch; got "
            f"{'one without axes' if inputs else 'no tensor'}."
        )
    for tensor in inputs:
        if not len(tensor):
            raise ValueError(
                f"example must hold at least one sample; got the shape "
                f"{list(tensor.shape)}."
            )
        if tensor.dtype not in READ:
            raise ValueError(f"example must hold {TYPES} tensors; got {tensor.dtype}.")


def calibration(given: Any) -> None:
    """Check that the calibration data can be a collection of batches.

    Raises:
        TypeError: if it is a single batch, such as a tensor, or no collection at all.
    """
    is_collection = hasattr(given, "__iter__") or hasattr(given, "__getitem__")
    if isinstance(given, torch.Tensor | Mapping | str) or not is_collection:
        raise TypeError(
            f"calibration must be an iterable of batches, each in the form of the "
            f"example; got {type(given).__name__}."
        )


def metric(given: Any) -> None:
    """Check that the metric is a function; raise a `TypeError` otherwise."""
    if given is not None and not callable(given):
        raise TypeError(
            f"metric must be a function that takes predict and returns points; got "
            f"{given!r}."
        )


def preparation(
    mean: Sequence[float], std: Sequence[float], given: Sequence[torch.Tensor]
) -> dict[str, list[float]]:
    """Return the `mean` and `std` used by the engine to normalize images, if given.

    Raises:
        ValueError: if a value is not a finite number, if a `std` is not positive in
            float32, if the number of values is neither 1 nor the number of channels, or
            if the example contains no image.
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
                f"{name} only applies to float32 images [N, C, H, W] with 1 or 3 "
                f"channels, and the example holds none."
            )
        if len(values) not in (1, channels):
            raise ValueError(
                f"{name} must be one number, or {channels}, one per channel; got "
                f"{len(values)}."
            )
    return normalization


def _numbers(name: str, given: Sequence[float]) -> list[float]:
    """Convert the numbers to float32 precision, which is what the engine uses."""
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
    """Check that the engine supports the types of all inputs and outputs of the model.

    Raises:
        ValueError: if a type is not supported; the message names the input or output.
    """
    from onnx import helper

    read = [str(dtype).removeprefix("torch.") for dtype in READ]
    for port in (*proto.graph.input, *proto.graph.output):
        kind = port.type.tensor_type.elem_type
        name = str(helper.tensor_dtype_to_np_dtype(kind)) if kind else "not a tensor"
        if name not in read:
            raise ValueError(
                f"inputs and outputs of the model must be {TYPES} tensors; {port.name} "
                f"is {name}."
            )


def batch(given: Any, own: int | None) -> None:
    """Check that the batch size is positive and matches the model's fixed size, if any.

    Args:
        given: the requested batch size.
        own: the fixed batch size of the model, or None if it is dynamic.

    Raises:
        ValueError: if the batch size is not allowed; the message states which one is
            allowed.
    """
    if not isinstance(given, int) or given < 1:
        raise ValueError(f"batch must be a positive integer; got {given!r}.")
    if own is not None and given != own:
        raise ValueError(
            f"batch must be {own}, the batch size of the example (its first axis), if "
            f"dynamic_batch=False; got {given}."
        )


def precision(asked: str | None, target: Target, given: dict[str, Any]) -> str:
    """Return the requested precision, or the default of the target if there is none.

    Args:
        asked: the requested precision, or None.
        given: the arguments that INT8 requires, keyed by name. The value of a missing
            argument is None.

    Raises:
        ValueError: if the target does not support the precision, or if an argument
            required for INT8 is missing.
    """
    choice = asked or target.precisions[0]
    if choice not in target.precisions:
        names = ", ".join(target.precisions)
        why = ""
        if choice.startswith("packed"):
            why = f" The runtime of {target.name} has no operator for packed weights."
        raise ValueError(
            f"precision must be one of {names} for {target.name}; got {choice!r}.{why}"
        )
    missing = [name for name, value in given.items() if value is None]
    if "int8" not in choice or not missing:
        return choice
    other = next((p for p in target.precisions if "int8" not in p), None)
    instead = f', or precision="{other}"' if other else ""
    raise ValueError(
        f"{choice} needs {' and '.join(missing)}, which the wizard was not given: pass "
        f"calibration batches and a metric on held-out data{instead}."
    )


def no_sequence_axis(given: Any) -> None:
    """Check that no sequence axis is given for an .onnx file.

    Raises:
        ValueError: if an axis is given.
    """
    if given is not None:
        raise ValueError(
            "sequence_axis is only for PyTorch models; an .onnx file itself defines "
            "which axes are dynamic."
        )


def outputs(answers: Sequence[np.ndarray], size: int) -> None:
    """Check that the first axis of every output is the batch.

    Args:
        answers: the outputs of the model.
        size: the batch size of the input.

    Raises:
        ValueError: if an output has a different first axis; the message names it.
    """
    for at, y in enumerate(answers):
        if y.ndim == 0 or len(y) != size:
            raise ValueError(
                f"output {at} of the model must have the batch as its first axis; its "
                f"shape is {list(y.shape)} for an example whose first axis is {size}."
            )
