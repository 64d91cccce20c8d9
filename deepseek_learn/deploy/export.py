"""Export to ONNX, the first step for every target, and verify against PyTorch.

`torch.export` traces the model, PyTorch's exporter translates the trace to opset 18 (which
ONNX Runtime, TensorRT, MIGraphX and CANN all read), and `verify` compares the outputs.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..errors import DeepSeekLearnError, require
from .runtimes import arguments, runner

if TYPE_CHECKING:
    import onnx

OPSET = 18
TOLERANCE = 1e-4  # the default of `verify`, for float32


class ExportError(DeepSeekLearnError):
    """The model cannot be exported; the message names the line, if known."""


class OutputMismatchError(DeepSeekLearnError):
    """An exported model's outputs differ from the original's."""


def to_onnx(
    model: nn.Module,
    example: Any,
    dynamic_batch: bool = True,
    sequence_axis: int | dict[str, int] | None = None,
) -> "onnx.ModelProto":
    """Export `model` in evaluation mode as an `onnx.ModelProto` of opset 18.

    The weights are stored inside. Layers with a `plain()` method (compressed ones,
    whose custom kernels cannot be exported) are exported as the layer that it returns.

    Args:
        example: one tensor, a tuple of several arguments, or a dict of named arguments.
        dynamic_batch: make the first axis of every tensor dynamic; if False, it keeps
            the size that it has in the example.
        sequence_axis: another axis of variable size, such as 1 for tokens `[B, T]`, in
            every argument that has it; or a dict, argument → axis. The example's length
            along it must be at least 2.

    Raises:
        ValueError: if `sequence_axis` is invalid or contains an unknown argument.
        ExportError: if the export fails; the message names the line of the model, if
            known.
        MissingPackageError: if the packages of the extra `deploy` are not installed.
    """
    for package in ("onnx", "onnxscript"):
        require(package, extra="deploy", purpose="exporting a model")
    plain, (args, kwargs) = plain_form(model).eval(), arguments(example)
    if dynamic_batch:
        args, kwargs = tree_map(_pair, (args, kwargs))
    with torch.no_grad():
        plain(*args, **kwargs)  # the model's own errors are passed on unchanged
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
    assert exported is not None  # with `dynamo=True` it is a program
    return _clean(exported.model_proto)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress the exporter's and the quantizer's logs, warnings and prints."""
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
    """Copy the model, replacing each layer that has `plain()` with what it returns."""
    if plain := _plain(model):
        return plain()
    copied = copy.deepcopy(model)
    for name, layer in list(copied.named_modules()):
        if plain := _plain(layer):
            copied.set_submodule(name, plain())
    return copied


def _plain(layer: nn.Module) -> Callable[[], nn.Module] | None:
    return getattr(layer, "plain", None)


def verify(
    proto: "onnx.ModelProto",
    model: nn.Module,
    inputs: Iterable,
    tolerance: float = TOLERANCE,
) -> float:
    """Compare the exported model with the original on `inputs`.

    Each input has the form of the `example` of `to_onnx`. A compressed model is
    compared in its plain form, since its kernels also round activations.

    Returns:
        `max |y - r| / max |r|` of the worst output over all inputs.

    Raises:
        OutputMismatchError: if that value is above `tolerance`, or a shape differs.
    """
    run, plain, worst = runner(proto), plain_form(model).eval(), 0.0
    for number, example in enumerate(inputs):
        args, kwargs = arguments(example)
        with torch.inference_mode():
            leaves = tree_leaves(plain(*args, **kwargs))
        references = [leaf for leaf in leaves if isinstance(leaf, Tensor)]  # no None
        for index, (y, r) in enumerate(zip(run(example), references, strict=True)):
            difference = relative_difference(y, r.numpy(force=True))
            if not difference <= tolerance:
                raise OutputMismatchError(
                    f"the exported {type(model).__name__} gives different outputs: output "
                    f"{index} for input {number} differs by {difference:.2g} of its "
                    f"largest value; at most {tolerance:g} is tolerated."
                )
            worst = max(worst, difference)
    return worst


def relative_difference(answer: np.ndarray, reference: np.ndarray) -> float:
    """Return max |y - r| / max |r|; infinite if shapes differ or only one is NaN."""
    if answer.shape != reference.shape:
        return float("inf")
    y, r = answer.astype(np.float64), reference.astype(np.float64)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        error = np.where(same, 0.0, np.abs(y - r)).max(initial=0.0)
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return float("inf") if np.isnan(error) else float(error / max(largest, 1e-12))


def copy_of(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a deep copy of a `ModelProto`."""
    copied = type(proto)()
    copied.CopyFrom(proto)
    return copied


def fix_sizes(proto: "onnx.ModelProto", shapes: Iterable[Sequence[int]]) -> None:
    """Fix the model's input sizes to `shapes`, in place."""
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
    """Write numbers into the metadata, replacing earlier entries of the same names."""
    others = [e for e in proto.metadata_props if e.key not in facts]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    for key, values in facts.items():
        proto.metadata_props.add(key=key, value=",".join(map(str, values)))


def weighted(proto: "onnx.ModelProto") -> list:
    """Return the nodes that multiply by a weight: the layers that can be quantized."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    return [n for n in proto.graph.node if n.op_type in kinds and weights & {*n.input}]


def with_named_layers(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Copy the model, giving each layer a unique name, from its weight if possible."""
    renamed = copy_of(proto)
    counts: dict[str, int] = {}
    for node in weighted(renamed):
        name = _module_name(node) or node.op_type
        counts[name] = counts.get(name, 0) + 1  # a module may be called twice
        node.name = name if counts[name] == 1 else f"{name}#{counts[name]}"
    return renamed


def _clean(exported: "onnx.ModelProto") -> "onnx.ModelProto":
    """Name layers as in the model; remove source paths and stack traces."""
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
    """Double a batch of one, because torch.export would specialize on size 1."""
    is_single = isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1
    return torch.cat([value, value]) if is_single else value


def _free_axes(
    model: nn.Module,
    args: tuple,
    kwargs: dict,
    dynamic_batch: bool,
    sequence_axis: int | dict[str, int] | None,
) -> dict:
    """Return the dynamic axes of each argument, for `torch.export`."""
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
    """Map each argument to its sequence axis; an integer `asked` applies to all.

    Raises:
        ValueError: if an axis is invalid, or an argument is unknown.
    """
    if asked is None:
        return {}
    axes = asked if isinstance(asked, dict) else dict.fromkeys(bound, asked)
    wrong = any(type(axis) is not int or axis < 1 for axis in axes.values())
    if wrong or {*axes} - {*bound}:
        raise ValueError(
            f"sequence_axis must be a whole number from 1, or a dict of them for "
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
        if axes and "0" not in axes:
            return (
                f"{name} takes no other length than the example's along sequence_axis "
                f"{', '.join(sorted(axes))}, or the example is shorter than 2 there."
            )
        return (
            f"{name} takes no other batch than the example's: add a batch axis to a "
            f"single sample, or pass dynamic_batch=False."
        )
    where = _users_line(error)
    if "data-dependent" in message and where:
        return (
            f"{name} cannot be exported: {where} depends on the values of a tensor; "
            f"write it with torch.where or torch.cond."
        )
    first = message.strip().split("\n")[0]
    return f"{name} cannot be exported: {where + ': ' if where else ''}{first}"


def _why_no_onnx(
    model: nn.Module, program: torch.export.ExportedProgram, error: Exception
) -> str:
    """Name the operator that has no ONNX translation, and the line that calls it."""
    operator = re.search(
        r"No ONNX function found for <OpOverload\(op='([\w.]+)'", _chain(error)
    )
    node = re.search(r"translating node %(\w+)", _chain(error))
    graph = program.run_decompositions().graph  # the operators that are translated
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
    """Find the line of the user's code in the error's message, or else in its stack."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return _last_line(str(error)) or _last_line(stack)


def _last_line(trace: str) -> str:
    """Return `FILE, line N (CODE)` of the last frame not in PyTorch or this package."""
    internal = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = re.findall(r'File "(.+?)", line (\d+), in .+\n\s*(.+)', trace)
    user_frames = [
        f"{_place(f)}, line {n} ({code.strip()})"
        for f, n, code in frames
        if not f.startswith(internal)
    ]
    return user_frames[-1] if user_frames else ""


def _place(file: str) -> str:
    """Return the file, or "the notebook's cell" for a file made up by ipykernel."""
    return "the notebook's cell" if re.search(r"ipykernel_\d+", file) else file
