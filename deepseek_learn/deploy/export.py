"""Export PyTorch models to ONNX.

Exporting is the first step for every target. `torch.export` traces the model, and the
ONNX exporter of PyTorch translates the trace to opset 18, which ONNX Runtime, TensorRT,
MIGraphX and CANN all support.
"""

import ast
import contextlib
import copy
import inspect
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..dpg import Recurrent
from ..errors import DeepSeekLearnError, require
from .runtimes import arguments

if TYPE_CHECKING:
    import onnx

OPSET = 18
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # that can be quantized


class ExportError(DeepSeekLearnError):
    """Raised when a model cannot be exported; the message names the line, if known."""


def to_onnx(
    model: nn.Module,
    example: Any,
    dynamic_batch: bool = True,
    sequence_axis: int | dict[str, int] | None = None,
) -> "onnx.ModelProto":
    """Export `model` in evaluation mode to an `onnx.ModelProto` with opset 18.

    The weights are stored in the proto. If a layer has a `plain()` method, the layer
    that it returns is exported instead. Compressed layers provide this method because
    their custom kernels cannot be exported.

    Args:
        model: the model to export.
        example: a single input tensor, a tuple of positional arguments, or a dict of
            named arguments.
        dynamic_batch: whether the first axis of every tensor is dynamic. If False, it
            is fixed to its size in the example.
        sequence_axis: another axis of variable size, such as 1 for tokens of shape
            `[B, T]`, in every argument that has it. A dict specifies the axis of each
            argument by name. The length of the example along this axis must be at least
            2.

    Raises:
        ValueError: if `sequence_axis` is invalid or names an unknown argument.
        ExportError: if the export fails. The message names the line of the model, if
            known.
        MissingPackageError: if the packages of the extra `deploy` are not installed.

    >>> import torch
    >>> from deepseek_learn import deploy
    >>> proto = deploy.to_onnx(torch.nn.Linear(4, 2), torch.rand(1, 4))
    >>> [each.op_type for each in proto.graph.node]
    ['Gemm']
    """
    for package in ("onnx", "onnxscript"):
        require(package, extra="deploy", purpose="exporting a model")
    plain, (args, kwargs) = plain_form(model).eval(), arguments(example)
    if dynamic_batch:
        args, kwargs = tree_map(_pair, (args, kwargs))
    with torch.no_grad():
        plain(*args, **kwargs)  # lets errors raised by the model itself pass unchanged
    with quietly(), torch.no_grad():
        shapes = _free_axes(plain, args, kwargs, dynamic_batch, sequence_axis)
        try:
            program = torch.export.export(plain, args, kwargs, dynamic_shapes=shapes)
        except Exception as error:
            raise ExportError(_why_no_trace(model, error)) from error
        try:
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, verbose=False
            )
        except Exception as error:
            raise ExportError(_why_no_onnx(model, program, error)) from error
    assert exported is not None  # always a program with `dynamo=True`
    return _clean(exported.model_proto)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress logs, warnings and printed output of the exporter and the quantizer."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def plain_form(model: nn.Module) -> nn.Module:
    """Return a copy of the model with all layers in their `plain()` form."""
    copied = copy.deepcopy(model)
    forms: dict[nn.Module, nn.Module] = {}  # of each layer, which may have many names
    for name, layer in packed_layers(copied).items():
        if not name:
            return layer.plain()
        form = forms.get(layer) or forms.setdefault(layer, layer.plain())
        copied.set_submodule(name, form)
    return copied


def packed_layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers that have a `plain` method, a shared one under each name.

    Raises:
        ExportError: if the layers around them are not in float32, as `plain()` is.
    """
    modules = model.named_modules(remove_duplicate=False)
    layers = {name: module for name, module in modules if hasattr(module, "plain")}
    for name, parameter in model.named_parameters() if layers else ():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            has = f"{name!r} is {parameter.dtype}: call model.float() first."
            raise ExportError(f"a compressed model is exported in float32, and {has}")
    return layers


def copy_of(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a deep copy of a `ModelProto`."""
    copied = type(proto)()
    copied.CopyFrom(proto)
    return copied


def fix_sizes(proto: "onnx.ModelProto", shapes: Iterable[Sequence[int]]) -> None:
    """Set the dynamic input sizes of the model to `shapes`, in place."""
    graph, sizes = proto.graph, {}
    for port, shape in zip(graph.input, shapes, strict=True):
        for size, n in zip(port.type.tensor_type.shape.dim, shape, strict=True):
            if not size.dim_value:
                sizes[size.dim_param] = n
                size.dim_value = n
    for port in (*graph.output, *graph.value_info):
        for size in port.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param in sizes:
                size.dim_value = sizes[size.dim_param]


def describe(proto: "onnx.ModelProto", facts: Mapping[str, Sequence[float]]) -> None:
    """Store numbers in the model metadata, replacing entries with the same names."""
    others = [e for e in proto.metadata_props if e.key not in facts]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    for key, values in facts.items():
        proto.metadata_props.add(key=key, value=",".join(map(str, values)))


def weighted(proto: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """Return all nodes that multiply by a weight, which are the quantizable layers."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    nodes = (node for node in proto.graph.node if node.op_type in LAYERS)
    return [node for node in nodes if weights & {*node.input}]


def with_named_layers(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy of the model with unique layer names.

    Where possible, a layer is named after its weight.
    """
    renamed = copy_of(proto)
    counts: dict[str, int] = {}
    for node in weighted(renamed):
        name = _module_name(node) or node.op_type
        counts[name] = counts.get(name, 0) + 1  # a module may be called several times
        node.name = name if counts[name] == 1 else f"{name}#{counts[name]}"
    return renamed


def _clean(exported: "onnx.ModelProto") -> "onnx.ModelProto":
    """Rename the layers to match the original model; remove paths and stack traces."""
    proto = with_named_layers(exported)
    graph = proto.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for item in (graph, *(item for part in parts for item in part)):
        item.ClearField("metadata_props")  # stack traces
        item.ClearField("doc_string")
    return proto


def _module_name(node: "onnx.NodeProto") -> str:
    """Return the path of the module that owns the weight, or of the calling module."""
    for name in node.input:
        if name.endswith(".weight"):
            return name.removesuffix(".weight")
    scopes = {entry.key: entry.value for entry in node.metadata_props}
    path = ast.literal_eval(scopes.get("pkg.torch.onnx.name_scopes", "[]"))
    return ".".join([scope for scope in path[-2:] if scope]) or node.name


def _pair(value: Any) -> Any:
    """Double a batch of size 1, because torch.export would specialize on this size."""
    is_single = isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1
    return torch.cat([value, value]) if is_single else value


def _free_axes(
    model: nn.Module,
    args: tuple,
    kwargs: dict,
    dynamic_batch: bool,
    sequence_axis: int | dict[str, int] | None,
) -> dict:
    """Return the dynamic axes of each argument, in the format of `torch.export`."""
    bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    sequence = sequence_axes(bound, sequence_axis)

    def free(value: Any, axes: list) -> dict | None:
        sizes = value.dim() if isinstance(value, Tensor) else 0
        return {axis: torch.export.Dim.DYNAMIC for axis in axes if axis < sizes} or None

    shapes = {}
    for name, value in bound.items():
        axes = [0] if dynamic_batch else []
        axes += [sequence[name]] if name in sequence else []
        shapes[name] = tree_map(lambda v, axes=axes: free(v, axes), value)
    return shapes


def sequence_axes(bound: dict, asked: int | dict[str, int] | None) -> dict[str, int]:
    """Return the sequence axis of each argument.

    Args:
        bound: the arguments of the call, by name.
        asked: None, a dict of axes, or one axis for all arguments.

    Raises:
        ValueError: if an axis is invalid, or if an argument is unknown.
    """
    if asked is None:
        return {}
    axes = asked if isinstance(asked, dict) else dict.fromkeys(bound, asked)
    wrong = any(type(axis) is not int or axis < 1 for axis in axes.values())
    if wrong or {*axes} - {*bound}:
        raise ValueError(
            f"sequence_axis must be a positive integer, or a dict with one for any of "
            f"{', '.join(bound)}; got {asked!r}."
        )
    return axes


def _why_no_trace(model: nn.Module, error: Exception) -> str:
    name, message = type(model).__name__, str(error)
    if (
        "conflicts between user-specified" in message
        or "Constraints violated" in message
    ):
        axes = set(re.findall(r"(?:size\(\)|shape)\[(\d+)\]", message))
        return _why_fixed(model, "" if "0" in axes else ", ".join(sorted(axes)))
    where = _users_line(error)
    if "data-dependent" in message and where:
        return (
            f"{name} cannot be exported: {where} depends on the values of a tensor; "
            f"use torch.where or torch.cond instead."
        )
    first = message.strip().split("\n")[0]
    return f"{name} cannot be exported: {where + ': ' if where else ''}{first}"


def _why_fixed(model: nn.Module, axes: str) -> str:
    """Explain why a size cannot be dynamic: the batch, or that of the sequence `axes`."""
    size = f"the length of the example along sequence_axis {axes}"
    first = f"{type(model).__name__} can be exported only for "
    # torch.export repeats the operators of a recurrent layer for every step
    kinds = nn.RNNBase | Recurrent
    recurrent = [layer for layer in model.modules() if isinstance(layer, kinds)]
    unrolled = [layer for layer in recurrent if axes or not layer.batch_first]
    kind = f"nn.{unrolled[0].mode.partition('_')[0]}" if unrolled else ""
    if axes and kind:
        return (
            f"{first}{size}, because torch.export unrolls the steps of its {kind}: leave "
            f"out sequence_axis to export it for this length."
        )
    if axes:
        return f"{first}{size}: it depends on this length, or the length is below 2."
    advice = "add a batch axis if the example is a sample or a list of samples"
    if kind:
        advice = f"pass batch_first=True to its {kind}, which unrolls the first axis"
    return (
        f"{first}the batch size of the example: {advice}, or pass dynamic_batch=False."
    )


def _why_no_onnx(
    model: nn.Module, program: torch.export.ExportedProgram, error: Exception
) -> str:
    """Explain which operator has no ONNX equivalent, and which line calls it."""
    operator = re.search(
        r"No ONNX function found for <OpOverload\(op='([\w.]+)'", _chain(error)
    )
    node = re.search(r"translating node %(\w+)", _chain(error))
    graph = program.run_decompositions().graph  # the graph that is translated
    matches = [n for n in graph.nodes if node and n.name == node[1]]
    trace = matches[0].meta.get("stack_trace", "") if matches else ""
    where = _last_line(trace)
    what = operator[1] if operator else str(error).strip().split("\n")[0]
    place = f", called at {where}," if where else ""
    name = type(model).__name__
    return f"{name} cannot be exported: {what}{place} has no ONNX equivalent."


def _chain(error: BaseException | None) -> str:
    return "" if error is None else f"{error}\n{_chain(error.__cause__)}"


def _users_line(error: BaseException) -> str:
    """Return the last line of user code in the error message, or else in the stack."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return _last_line(str(error)) or _last_line(stack)


def _last_line(trace: str) -> str:
    """Return `FILE, line N (CODE)` for the last frame in the user's code."""
    internal = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = re.findall(r'File "(.+?)", line (\d+), in .+\n\s*(.+)', trace)
    user_frames = [
        f"{_place(f)}, line {n} ({code.strip()})"
        for f, n, code in frames
        if not f.startswith(internal)
    ]
    return user_frames[-1] if user_frames else ""


def _place(file: str) -> str:
    """Return the file name, or "the notebook's cell" for a temporary ipykernel file."""
    return "the notebook's cell" if re.search(r"ipykernel_\d+", file) else file
