"""Model sources for the wizard: a PyTorch module or an `.onnx` file.

The file may come from any exporter. Each source provides an `onnx.ModelProto` with
named layers. For comparison, it also provides the outputs, speed and size of the
original.
"""

import copy
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import DamagedFileError, require
from ..machine import one_thread
from ..measure.clock import median_ms
from . import export
from .comparison import largest_difference, verify
from .packing import PackedRows, packed_form
from .runtimes import arguments, runner

if TYPE_CHECKING:
    import onnx

Axes = int | dict[str, int] | None


class TorchModel:
    """A copy of a PyTorch model in its current state.

    Attributes:
        name: the class name of the model.
        label: the name of the source in the report.
    """

    label = "PyTorch"

    def __init__(self, model: nn.Module):
        self.model = copy.deepcopy(model).cpu().eval()
        self.name = type(model).__name__

    def export(
        self, example: Any, dynamic_batch: bool, sequence_axis: Axes
    ) -> "onnx.ModelProto":
        return export.to_onnx(self.model, example, dynamic_batch, sequence_axis)

    def export_packed(
        self, example: Any, dynamic_batch: bool, sequence_axis: Axes
    ) -> tuple["onnx.ModelProto", dict[str, PackedRows]]:
        """Export with packed linear layers; see `packing.packed_form`."""
        form, convolutions = packed_form(self.model)
        axes = dynamic_batch, sequence_axis
        return export.to_onnx(form, example, *axes), convolutions

    def shorter(self, example: Any, sequence_axis: Axes) -> Any:
        """Shorten the example along its sequence axis from length T to T // 2 + 1."""
        args, kwargs = arguments(example)
        bound = inspect.signature(self.model.forward).bind(*args, **kwargs)
        axes = export.sequence_axes(bound.arguments, sequence_axis)

        def cut(value: Any, axis: int) -> Any:
            if not isinstance(value, Tensor) or axis >= value.dim():
                return value
            return value.narrow(axis, 0, value.shape[axis] // 2 + 1)

        for name, axis in axes.items():
            value = bound.arguments[name]
            bound.arguments[name] = tree_map(lambda v, axis=axis: cut(v, axis), value)
        return dict(bound.arguments) if isinstance(example, dict) else bound.args

    def difference(self, proto: "onnx.ModelProto", inputs: Iterable[Any]) -> float:
        """Return the largest relative difference from the outputs of this model."""
        return verify(proto, self.model, inputs)

    def bytes(self) -> int:
        """Return the size of the parameters and buffers in bytes."""
        state = self.model.state_dict().values()
        sizes = {t.data_ptr(): t.nbytes for t in state if isinstance(t, Tensor)}
        return sum(sizes.values())

    @property
    def packed_layers(self) -> int:
        """The number of layers that are exported in another form, with other weights."""
        return len({*export.packed_layers(self.model).values()})

    def milliseconds(self, x: Any, seconds: float) -> float:
        """Return the median latency in ms on one thread, timed for about `seconds`."""
        args, kwargs = arguments(x)
        with one_thread(), torch.inference_mode():
            return median_ms(lambda: self.model(*args, **kwargs), seconds)


class OnnxFile:
    """An `.onnx` file with embedded or external weights.

    Attributes:
        name, label: the name of the file.
        packed_layers: 0, because a file is deployed in its own form.

    Raises:
        FileNotFoundError: if the file does not exist.
        DamagedFileError: if the file is not an ONNX model.
        ExportError: if the model cannot be converted to `export.OPSET`, or if ONNX
            Runtime rejects it.
    """

    packed_layers = 0

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"model must be a torch.nn.Module or an .onnx file; {path} is not a file."
            )
        self.name = self.label = self.path.name
        self._original = _load(self.path)
        self._proto = _convert_opset(self._original, self.name)
        try:
            self._answer = runner(self._original)
        except Exception as error:  # ONNX Runtime may raise any exception
            first = str(error).strip().split("\n")[0]
            raise export.ExportError(f"ONNX Runtime rejects {path}: {first}") from error

    def export(
        self, example: Any, dynamic_batch: bool, sequence_axis: Axes
    ) -> "onnx.ModelProto":
        """Return the model with named layers, keeping the dynamic axes of the file."""
        return export.with_named_layers(self._proto)

    def export_packed(
        self, example: Any, dynamic_batch: bool, sequence_axis: Axes
    ) -> tuple["onnx.ModelProto", dict[str, PackedRows]]:
        raise export.ExportError(
            f"precision 'packed' needs a model that dpg.compress made; {self.name} is an "
            f".onnx file."
        )

    @property
    def free_batch(self) -> bool:
        """Whether the first axis of every input is dynamic."""
        return all(
            not port.type.tensor_type.shape.dim[0].dim_value
            for port in self._proto.graph.input
            if port.type.tensor_type.shape.dim
        )

    def difference(self, proto: "onnx.ModelProto", inputs: Iterable[Any]) -> float:
        return largest_difference(runner(proto), self._answer, inputs, self.name)

    def bytes(self) -> int:
        return self._original.ByteSize()

    def milliseconds(self, x: Any, seconds: float) -> float:
        """Return ONNX Runtime's median latency in ms, timed for about `seconds`.

        The measurement uses one thread.
        """
        return median_ms(lambda: self._answer(x), seconds)


Source = TorchModel | OnnxFile


def source_of(model: nn.Module | str | Path) -> Source:
    """Return the source for a module or a file.

    Raises:
        TypeError: if `model` is neither a module nor the path of an .onnx file.
    """
    if isinstance(model, nn.Module):
        return TorchModel(model)
    if isinstance(model, Path) or (isinstance(model, str) and model.endswith(".onnx")):
        return OnnxFile(model)
    got = repr(model) if isinstance(model, str) else type(model).__name__
    raise TypeError(f"model must be a torch.nn.Module or an .onnx file; got {got}.")


def example_for(path: str | Path, shape: list[int]) -> Any:
    """Create an example input of the given shape for a file with a single input.

    Floating-point values are random between 0 and 1. Integers and booleans are zero.

    Raises:
        ValueError: if the model has several inputs.
    """
    ports = _load(Path(path)).graph.input
    if len(ports) != 1:
        names = ", ".join(port.name for port in ports)
        raise ValueError(
            f"{path} has the inputs {names}, but --shape describes only one input; use "
            f"DeploymentWizard from Python instead."
        )
    onnx = require("onnx", extra="deploy", purpose="reading an .onnx file")
    element = ports[0].type.tensor_type.elem_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(element)
    values = np.random.default_rng(0).random(shape)
    is_integer = kind.kind in "iub"  # for tokens or indices, 0 is always valid
    return torch.from_numpy((0 * values if is_integer else values).astype(kind))


def _load(path: Path) -> "onnx.ModelProto":
    """Load the model with its weights, in standard operators and with real inputs.

    Functions defined in the file are replaced by their operators, weights are removed
    from the inputs, and dynamic sizes are stored as ONNX defines them.
    """
    onnx = require("onnx", extra="deploy", purpose="reading an .onnx file")
    from onnx import inliner

    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        if proto.functions:  # such as those of `winograd`
            proto = inliner.inline_local_functions(proto)
    except Exception as error:  # from protobuf, the checker or the file system
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise DamagedFileError(f"{path} is not an ONNX model: {first}") from error
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [port for port in proto.graph.input if port.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    _mark_dynamic_sizes(proto.graph)
    return proto


def _mark_dynamic_sizes(graph: "onnx.GraphProto") -> None:
    """Name the dynamic batch, and clear all other sizes that are no sizes, in place.

    Some exporters store a dynamic size as -1 or 0, where ONNX has a name or nothing.
    """
    ports = (*graph.input, *graph.output)
    for port in (*ports, *graph.value_info):
        for size in port.type.tensor_type.shape.dim:
            if size.dim_value <= 0 and not size.dim_param:
                size.Clear()
    for port in ports:
        for size in port.type.tensor_type.shape.dim[:1]:
            if not size.WhichOneof("value"):
                size.dim_param = "batch"


def _convert_opset(proto: "onnx.ModelProto", name: str) -> "onnx.ModelProto":
    """Convert the model to `export.OPSET` if it uses an older opset."""
    from onnx import version_converter

    opset = next((o.version for o in proto.opset_import if not o.domain), export.OPSET)
    if opset >= export.OPSET:
        return proto
    try:
        return version_converter.convert_version(proto, export.OPSET)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise export.ExportError(
            f"{name} cannot be converted from opset {opset} to {export.OPSET}: {first}"
        ) from error
