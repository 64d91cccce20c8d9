"""The hub that every target starts from: a model as ONNX, proved equal to PyTorch's.

`torch.export` traces the model, PyTorch's exporter translates the trace to opset 18 (which
ONNX Runtime, TensorRT, MIGraphX and CANN all read), and `verify` runs both on inputs.
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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..errors import DeepSeekLearnError, require
from .runtimes import arguments, runner

OPSET = 18
TOLERANCE = 1e-4  # of `verify`, for float32


class ExportError(DeepSeekLearnError):
    """The model cannot be exported; the sentence names the line, where one is known."""


class NotTheSameError(DeepSeekLearnError):
    """An exported model answers otherwise than the original."""


def to_onnx(
    model: nn.Module,
    example: Any,
    dynamic_batch: bool = True,
    sequence_axis: int | dict[str, int] | None = None,
):
    """`model` in evaluation mode as an `onnx.ModelProto` of opset 18, weights inside.

    Layers that have a method `plain()` (compressed ones, whose kernels no exporter sees
    into) are exported as the ordinary layer that it gives.

    Args:
        example: one tensor; a tuple: several arguments; a dict: named arguments.
        dynamic_batch: leave the first axis of every tensor free; False: all sizes are
            the example's.
        sequence_axis: a further axis that may have any size, such as 1 for tokens
            `[B, T]`: of every argument that has it; a dict: argument → axis. The example
            must be at least 2 long there.

    Raises:
        ValueError: for a `sequence_axis` that is none, or of no argument.
        ExportError: naming the line of the model at which it fails.
        MissingPackageError: without the packages of the extra `deploy`.
    """
    for package in ("onnx", "onnxscript"):
        require(package, extra="deploy", purpose="exporting a model")
    plain, (args, kwargs) = plain_form(model).eval(), arguments(example)
    if dynamic_batch:
        args, kwargs = tree_map(_pair, (args, kwargs))
    with torch.no_grad():
        plain(*args, **kwargs)  # what the model itself raises is passed on as it is
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
    return _tidied(exported.model_proto)


@contextlib.contextmanager
def quietly():
    """The exporter's and the quantizer's advice, warnings and prints are not for users."""
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
    """A copy whose layers with a method `plain()` are replaced by what it gives."""
    if hasattr(model, "plain"):
        return model.plain()
    copied = copy.deepcopy(model)
    for name, layer in list(copied.named_modules()):
        if hasattr(layer, "plain"):
            copied.set_submodule(name, layer.plain())
    return copied


def verify(
    proto, model: nn.Module, inputs: Iterable, tolerance: float = TOLERANCE
) -> float:
    """Run both on `inputs`, each like the `example` of `to_onnx`.

    A compressed model is compared in its plain form: its kernels round activations too.

    Returns:
        The largest difference over the largest value, over all inputs and outputs.

    Raises:
        NotTheSameError: when that is above `tolerance`, or a shape differs.
    """
    run, plain, worst = runner(proto), plain_form(model).eval(), 0.0
    for number, each in enumerate(inputs):
        args, kwargs = arguments(each)
        with torch.inference_mode():
            leaves = tree_leaves(plain(*args, **kwargs))
        wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor)]  # no None
        for index, (y, r) in enumerate(zip(run(each), wanted, strict=True)):
            apart = relative_difference(y, r.numpy(force=True))
            if not apart <= tolerance:
                raise NotTheSameError(
                    f"the exported {type(model).__name__} answers otherwise: output "
                    f"{index} for input {number} differs by {apart:.2g} of its largest "
                    f"value; at most {tolerance:g} is taken for the same."
                )
            worst = max(worst, apart)
    return worst


def relative_difference(answer: np.ndarray, reference: np.ndarray) -> float:
    """max |y - r| / max |r|; infinite for another shape, or where one alone is NaN."""
    if answer.shape != reference.shape:
        return float("inf")
    y, r = answer.astype(np.float64), reference.astype(np.float64)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.where(same, 0.0, np.abs(y - r)).max(initial=0.0)
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return float("inf") if np.isnan(apart) else float(apart / max(largest, 1e-12))


def copy_of(proto):
    """A `ModelProto` of its own."""
    copied = type(proto)()
    copied.CopyFrom(proto)
    return copied


def fix_sizes(proto, shapes: Iterable[Sequence[int]]) -> None:
    """Let the model take inputs of these shapes and no others (in place)."""
    graph, fixed = proto.graph, {}
    for port, shape in zip(graph.input, shapes, strict=True):
        for size, n in zip(port.type.tensor_type.shape.dim, shape, strict=True):
            if not size.dim_value:
                fixed[size.dim_param] = n
                size.dim_value = n
    for port in (*graph.output, *graph.value_info):
        for size in port.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param in fixed:
                size.dim_value = fixed[size.dim_param]


def describe(proto, facts: dict[str, Sequence[float]]) -> None:
    """Write numbers into the metadata, in place of what stands there by these names."""
    others = [e for e in proto.metadata_props if e.key not in facts]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    for key, values in facts.items():
        proto.metadata_props.add(key=key, value=",".join(map(str, values)))


def weighted(proto) -> list:
    """The nodes that multiply by a weight: what is quantized, layer by layer."""
    fixed = {tensor.name for tensor in proto.graph.initializer}
    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    return [n for n in proto.graph.node if n.op_type in kinds and fixed & {*n.input}]


def with_named_layers(proto):
    """A copy in which each layer has a name of its own, after its weight where it can."""
    named, taken = copy_of(proto), {}
    for node in weighted(named):
        name = _module_name(node) or node.op_type
        taken[name] = taken.get(name, 0) + 1  # a module may be called twice
        node.name = name if taken[name] == 1 else f"{name}#{taken[name]}"
    return named


def _tidied(exported):
    """Layers named as in the model; nothing of the folder that it was made in."""
    proto = with_named_layers(exported)
    graph = proto.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for each in (graph, *(each for part in parts for each in part)):
        each.ClearField("metadata_props")  # stack traces
        each.ClearField("doc_string")
    return proto


def _module_name(node) -> str:
    """Path of the module whose weight it is, else of the one that calls it."""
    for given in node.input:
        if given.endswith(".weight"):
            return given.removesuffix(".weight")
    scopes = {entry.key: entry.value for entry in node.metadata_props}
    path = ast.literal_eval(scopes.get("pkg.torch.onnx.name_scopes", "[]"))
    return ".".join([each for each in path[-2:] if each]) or node.name


def _pair(value: Any) -> Any:
    """A batch of one, twice: a batch of one is traced as if it could be no other."""
    alone = isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1
    return torch.cat([value, value]) if alone else value


def _free_axes(
    model: nn.Module,
    args: tuple,
    kwargs: dict,
    dynamic_batch: bool,
    sequence_axis: int | dict[str, int] | None,
) -> dict:
    """For `torch.export`: the axes of each argument that may have any size."""
    bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    further = sequence_axes(bound, sequence_axis)

    def free(value: Any, axes: list) -> dict | None:
        sizes = value.dim() if isinstance(value, Tensor) else 0
        return {axis: torch.export.Dim.DYNAMIC for axis in axes if axis < sizes} or None

    shapes = {}
    for name, value in bound.items():
        axes = [0] if dynamic_batch else []
        axes += [further[name]] if name in further else []
        shapes[name] = tree_map(lambda v, axes=axes: free(v, axes), value)
    return shapes


def sequence_axes(bound: dict, asked: int | dict[str, int] | None) -> dict[str, int]:
    """Argument → its sequence axis; `asked` may be one for all.

    Raises:
        ValueError: for what is no axis, or an argument that is not there.
    """
    axes = asked if isinstance(asked, dict) else dict.fromkeys(bound, asked)
    axes = {} if asked is None else axes
    wrong = any(type(axis) is not int or axis < 1 for axis in axes.values())
    if wrong or {*axes} - {*bound}:
        raise ValueError(
            f"sequence_axis must be a whole number from 1, or a dict of such for "
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
            f"{name} takes no other batch than the example's: give one sample a batch, "
            f"or dynamic_batch=False."
        )
    where = _users_line(error)
    if "data-dependent" in message and where:
        return (
            f"{name} cannot be exported: {where} depends on the values of a tensor; "
            f"write it with torch.where or torch.cond."
        )
    first = message.strip().split("\n")[0]
    return f"{name} cannot be exported: {where + ': ' if where else ''}{first}"


def _why_no_onnx(model: nn.Module, program, error: Exception) -> str:
    """The operator that has no translation, and the line that calls it."""
    operator = re.search(
        r"No ONNX function found for <OpOverload\(op='([\w.]+)'", _all(error)
    )
    node = re.search(r"translating node %(\w+)", _all(error))
    graph = program.run_decompositions().graph  # the operators that are translated
    found = [n for n in graph.nodes if node and n.name == node[1]]
    trace = found[0].meta.get("stack_trace", "") if found else ""
    where = _last_line(trace)
    what = operator[1] if operator else str(error).strip().split("\n")[0]
    place = f", called at {where}," if where else ""
    return (
        f"{type(model).__name__} cannot be exported: {what}{place} has no form in ONNX."
    )


def _all(error: BaseException | None) -> str:
    return "" if error is None else f"{error}\n{_all(error.__cause__)}"


def _users_line(error: BaseException) -> str:
    """Where in the model's own code it was raised: from the message, else the stack."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return _last_line(str(error)) or _last_line(stack)


def _last_line(trace: str) -> str:
    """`FILE, line N (CODE)` of the last frame that is neither PyTorch's nor ours."""
    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = re.findall(r'File "(.+?)", line (\d+), in .+\n\s*(.+)', trace)
    own = [
        f"{_place(f)}, line {n} ({code.strip()})"
        for f, n, code in frames
        if not f.startswith(inside)
    ]
    return own[-1] if own else ""


def _place(file: str) -> str:
    """A file; a cell of a notebook has a made-up one in a temporary folder."""
    return "the notebook's cell" if re.search(r"ipykernel_\d+", file) else file
