"""Runtimes that turn an exported model into a Python function on the CPU."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..errors import require
from .native import BuildError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Model = Union["onnx.ModelProto", bytes, Path]  # a file is read when it is loaded
Answer = Callable[[Any], list[np.ndarray]]
Runner = Callable[..., Answer]  # runner(proto, threads) → callable


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Split an example into the positional and named arguments of the model."""
    if isinstance(example, dict):
        return (), example
    return (example if isinstance(example, tuple) else (example,)), {}


def tensors(example: Any) -> list[Tensor]:
    """Return the tensors of an example in the input order of the exported model."""
    return [t for t in tree_leaves(arguments(example)) if isinstance(t, Tensor)]


def arrays(example: Any) -> list[np.ndarray]:
    """Return the tensors of an example as NumPy arrays."""
    return [tensor.numpy(force=True) for tensor in tensors(example)]


def ordered(example: Any, names: list[str]) -> list[np.ndarray]:
    """Return the arrays of an example in the order of `names`.

    Arrays without names must already be in this order.
    """
    if isinstance(example, dict) and len(names) == len(example):
        if {*names} == {*example}:
            return arrays(tuple(example[name] for name in names))
        if all(isinstance(value, Tensor) for value in example.values()):
            raise ValueError(
                f"the model takes {', '.join(names)}; got {', '.join(example)}."
            )
    return arrays(example)


def session(proto: Model, threads: int = 1) -> "onnxruntime.InferenceSession":
    """Open an ONNX Runtime session for a `ModelProto`, its bytes, or a file."""
    purpose = "running an exported model"
    ort = require("onnxruntime", extra="deploy", purpose=purpose)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    source = str(proto) if isinstance(proto, Path) else _bytes(proto)
    return ort.InferenceSession(source, settings, ["CPUExecutionProvider"])


def runner(proto: Model, threads: int = 1) -> Answer:
    """Return a function that runs the model in ONNX Runtime.

    The function takes an example and returns a list of arrays.
    """
    ort = session(proto, threads)
    names = [port.name for port in ort.get_inputs()]
    return lambda x: ort.run(None, dict(zip(names, ordered(x, names), strict=True)))


def openvino_runner(proto: Model, threads: int = 1, precision: str = "fp32") -> Answer:
    """Return a function that runs the model in OpenVINO.

    The function takes an example and returns a list of arrays.

    Args:
        precision: the precision of all layers that are not INT8, "fp32" or "bf16".

    Raises:
        BuildError: if OpenVINO does not know an operator of the model, or a mode of it.
    """
    purpose = "running a model on OpenVINO"
    openvino = require("openvino", extra="deploy", purpose=purpose)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else it rounds inputs of packed weights
    }
    core = openvino.Core()
    try:
        model = core.read_model(_bytes(proto))
    except RuntimeError as error:
        # the last line sums up, and the line before is empty: "... failed for: Pad-18"
        summary = str(error).strip().splitlines()[-1].removeprefix("-- ")
        raise BuildError(
            f"OpenVINO cannot read the model ({summary}): deploy it for 'cpp-cpu'."
        ) from error
    names = [port.get_any_name() for port in model.inputs]
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda x: [np.array(y) for y in request.infer(ordered(x, names)).values()]


def runner_for(runtime: str, precision: str) -> Runner:
    """Return the runner for a runtime and a precision.

    The layers of an INT8 model that are not quantized are computed in float32.
    """
    if runtime == "openvino":
        rest = "bf16" if precision == "bf16" else "fp32"
        return functools.partial(openvino_runner, precision=rest)
    return runner


def _bytes(proto: Model) -> bytes:
    if isinstance(proto, Path):
        return proto.read_bytes()
    return proto if isinstance(proto, bytes) else proto.SerializeToString()
