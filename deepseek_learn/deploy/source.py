"""What a wizard starts from: a PyTorch model, or an `.onnx` file of any origin.

Both give the same: an `onnx.ModelProto` with named layers, and the original's answers,
speed and size, to compare with.
"""

import copy
import inspect
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import DamagedFileError, require
from . import hub
from .runtimes import arguments, runner

Axes = int | dict[str, int] | None


class TorchModel:
    """A model of PyTorch, copied as it is now.

    Attributes:
        name: of its class.
        label: what the report calls it.
    """

    label = "PyTorch"

    def __init__(self, model: nn.Module):
        self.model = copy.deepcopy(model).cpu().eval()
        self.name = type(model).__name__

    def export(self, example: Any, dynamic_batch: bool, sequence_axis: Axes):
        return hub.to_onnx(self.model, example, dynamic_batch, sequence_axis)

    def shorter(self, example: Any, sequence_axis: Axes) -> Any:
        """The example, cut to half its length and one more along that axis."""
        args, kwargs = arguments(example)
        bound = inspect.signature(self.model.forward).bind(*args, **kwargs)
        axes = hub.sequence_axes(bound.arguments, sequence_axis)

        def cut(value: Any, axis: int) -> Any:
            if not isinstance(value, Tensor) or axis >= value.dim():
                return value
            return value.narrow(axis, 0, value.shape[axis] // 2 + 1)

        for name, axis in axes.items():
            value = bound.arguments[name]
            bound.arguments[name] = tree_map(lambda v, axis=axis: cut(v, axis), value)
        return dict(bound.arguments) if isinstance(example, dict) else bound.args

    def difference(self, proto, inputs: Iterable) -> float:
        """Largest difference of the export's answers, over their largest value."""
        return hub.verify(proto, self.model, inputs)

    def bytes(self) -> int:
        """Of parameters and buffers, as a checkpoint holds them."""
        state = self.model.state_dict().values()
        held = {t.data_ptr(): t.nbytes for t in state if isinstance(t, Tensor)}
        return sum(held.values())

    def milliseconds(self, x: Any, seconds: float) -> float:
        """Median of its passes over about `seconds`, one thread."""
        args, kwargs = arguments(x)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return median_ms(lambda: self.model(*args, **kwargs), seconds)
        finally:
            torch.set_num_threads(threads)


class OnnxFile:
    """An `.onnx` file, its weights inside or beside it.

    Attributes:
        name, label: of the file.

    Raises:
        FileNotFoundError, DamagedFileError: for a file that is not there, or no model.
        ExportError: for one that cannot be brought to `hub.OPSET`, or that ONNX Runtime
            does not take.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"model must be a torch.nn.Module or an .onnx file; {path} is no file."
            )
        self.name = self.label = self.path.name
        self._given = _loaded(self.path)
        self._proto = _modern(self._given, self.name)
        try:
            self._answer = runner(self._given)
        except Exception as error:  # any of ONNX Runtime's own
            first = str(error).strip().split("\n")[0]
            raise hub.ExportError(f"ONNX Runtime refuses {path}: {first}") from error

    def export(self, example: Any, dynamic_batch: bool, sequence_axis: Axes):
        """The model, its layers named; its axes are free where the file has them so."""
        return hub.with_named_layers(self._proto)

    @property
    def free_batch(self) -> bool:
        """Whether the file leaves the first axis of every input free."""
        return all(
            not port.type.tensor_type.shape.dim[0].dim_value
            for port in self._proto.graph.input
            if port.type.tensor_type.shape.dim
        )

    def difference(self, proto, inputs: Iterable) -> float:
        answer, worst = runner(proto), 0.0
        for each in inputs:
            for y, r in zip(answer(each), self._answer(each), strict=True):
                worst = max(worst, hub.relative_difference(y, r))
        if not worst <= hub.TOLERANCE:
            raise hub.NotTheSameError(
                f"{self.name} answers otherwise in opset {hub.OPSET}: its outputs differ "
                f"by {worst:.2g} of their largest value."
            )
        return worst

    def bytes(self) -> int:
        return self._given.ByteSize()

    def milliseconds(self, x: Any, seconds: float) -> float:
        """Median of ONNX Runtime's passes over about `seconds`, one thread."""
        return median_ms(lambda: self._answer(x), seconds)


Source = TorchModel | OnnxFile


def source_of(model: nn.Module | str | Path) -> Source:
    """The source that `model` is.

    Raises:
        TypeError: for what is neither a module nor the path of a file.
    """
    if isinstance(model, nn.Module):
        return TorchModel(model)
    if isinstance(model, Path) or (isinstance(model, str) and model.endswith(".onnx")):
        return OnnxFile(model)
    got = repr(model) if isinstance(model, str) else type(model).__name__
    raise TypeError(f"model must be a torch.nn.Module or an .onnx file; got {got}.")


def median_ms(call: Callable[[], Any], seconds: float) -> float:
    """Median time of at least three calls over about `seconds`, after one more."""
    call()
    times, begun = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def example_for(path: str | Path, shape: list[int]) -> Any:
    """An input of this shape for a file with one input: numbers in 0..1, or zeros.

    Raises:
        ValueError: for a file with several inputs.
    """
    ports = _loaded(Path(path)).graph.input
    if len(ports) != 1:
        names = ", ".join(port.name for port in ports)
        raise ValueError(
            f"{path} takes {names}: --shape gives one input alone; call "
            f"DeploymentWizard from Python."
        )
    onnx = require("onnx", extra="deploy", purpose="reading an .onnx file")
    element = ports[0].type.tensor_type.elem_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(element)
    values = np.random.default_rng(0).random(shape)
    whole = kind.kind in "iub"  # a token, an index: 0 is always one
    return torch.from_numpy((0 * values if whole else values).astype(kind))


def _loaded(path: Path):
    """The model in the file, its weights inside; inputs that are weights are none."""
    onnx = require("onnx", extra="deploy", purpose="reading an .onnx file")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's, the checker's, the file system's
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise DamagedFileError(f"{path} is no ONNX model: {first}") from error
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [port for port in proto.graph.input if port.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    return proto


def _modern(proto, name: str):
    """The model in opset `hub.OPSET`, where it is older; a newer one is left."""
    from onnx import version_converter

    opset = next((o.version for o in proto.opset_import if not o.domain), hub.OPSET)
    if opset >= hub.OPSET:
        return proto
    try:
        return version_converter.convert_version(proto, hub.OPSET)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise hub.ExportError(
            f"{name} cannot be brought from opset {opset} to {hub.OPSET}: {first}"
        ) from error
