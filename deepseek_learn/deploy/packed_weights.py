"""ONNX nodes that unpack the weights of convolutions when a file is loaded."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .export import ExportError, copy_of
from .packing import PackedRows, Term

if TYPE_CHECKING:
    import onnx


def with_packed_weights(
    proto: "onnx.ModelProto", rows: dict[str, PackedRows]
) -> "onnx.ModelProto":
    """Return a copy of the model in which codes replace the weights of convolutions.

    The runtime unpacks a weight once, when it loads the file. Scales are stored in
    bfloat16, which is exact.

    Args:
        proto: the exported model, whose weights have the names of the layers. A batch
            normalization may have multiplied the rows of a weight.
        rows: the rows of each convolution.

    Raises:
        ExportError: if a weight is not that of its layer.
    """
    from onnx import numpy_helper

    proto, builder = copy_of(proto), _Builder()
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    names = {layer: f"{layer}.weight".lstrip(".") for layer in rows}
    stored = {id(rows[layer]) for layer, name in names.items() if name in weights}
    for layer, packed in rows.items():
        name = names[layer]
        if name not in weights:
            if id(packed) in stored:  # under another name of the layer
                continue
            raise ExportError(f"layer {layer!r} has no weight in the exported model.")
        weight = torch.from_numpy(numpy_helper.to_array(weights[name]).copy())
        own = packed.lookup(torch.arange(len(weight)))  # [N, kernel C]
        flat = weight.movedim(1, -1).flatten(1)  # channels last, as in the codes
        factor = (flat * own).sum(1) / (own * own).sum(1).clamp_min(1e-30)  # [N]
        if (flat - own * factor[:, None]).abs().max() > 1e-5 * flat.abs().max():
            raise ExportError(f"layer {layer!r} is exported with another weight.")
        factor = torch.where((factor - 1).abs() < 1e-6, 1.0, factor)
        builder.weight(name, packed, factor, weight.shape)
        proto.graph.initializer.remove(weights[name])
    for tensor in list(proto.graph.initializer):
        if tensor.name.endswith(".scale"):
            proto.graph.initializer.remove(tensor)
            builder.scale(tensor.name, numpy_helper.to_array(tensor))
    proto.graph.initializer.extend(builder.tensors.values())
    nodes = [*builder.nodes, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _quantize_others(proto)
    return proto


def _quantize_others(proto: "onnx.ModelProto") -> None:
    """Store float weights that are only quantized as the integers that result, in place.

    Such as those of grouped convolutions, which no packed layer holds.
    """
    from onnx import numpy_helper

    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "QuantizeLinear" or not {*node.input} <= {*tensors}:
            continue
        weight, scale, zero = (numpy_helper.to_array(tensors[n]) for n in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim:
            shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        whole = np.clip(np.rint(weight / scale) + zero, limits.min, limits.max)
        integers = numpy_helper.from_array(whole.astype(zero.dtype), node.output[0])
        graph.initializer.append(integers)
        graph.node.remove(node)
    used = _used(graph)
    rest = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(rest)


def _used(graph: "onnx.GraphProto") -> set[str]:
    """Return the names that a graph reads, those in its loops and branches included."""
    used = {port.name for port in graph.output}
    for node in graph.node:
        used |= {*node.input}
        for attribute in node.attribute:
            if attribute.HasField("g"):
                used |= _used(attribute.g)
    return used


class _Builder:
    """ONNX nodes that compute weights from codes, and the tensors that they need."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def weight(
        self, name: str, rows: PackedRows, factor: Tensor, shape: torch.Size
    ) -> None:
        """Add a convolution's weight of the given shape, its rows times `factor`.

        The runtime keeps every intermediate result until all weights are unpacked, so
        that rows are put in order as integers of 8 bits, before they become floats.
        """
        # 1. [N, K' / G, G]: the rows in the order of the matrix, and what refines them.
        value = self._rows(rows.segments, rows, factor, name)
        if rows.refine:
            more = self._rows([rows.refine], rows, factor, f"{name}.r")
            value = self._add("Add", [value, more])
        # 2. Drop the columns that fill the last group, [N, K].
        first = rows.segments[0][0]
        if first.codes[0].numel() * 8 // first.bits > rows.columns:
            wide = self._add("Reshape", [value, self._sizes(len(factor), -1)])
            ends = [self._sizes(n) for n in (0, rows.columns, 1)]
            value = self._add("Slice", [wide, *ends])
        # 3. Channels first, as ONNX stores them: [N, C, *kernel].
        if prod(shape[2:]) == 1:
            self._add("Reshape", [value, self._sizes(*shape)], name)
            return
        last = self._sizes(shape[0], *shape[2:], shape[1])
        axes = [0, len(shape) - 1, *range(1, len(shape) - 1)]
        self._add("Transpose", [self._add("Reshape", [value, last])], name, perm=axes)

    def _rows(
        self, segments: list[list[Term]], rows: PackedRows, factor: Tensor, name: str
    ) -> str:
        """Add the weights of all rows, in float32."""
        parts = [self._integers(s, f"{name}.{i}") for i, s in enumerate(segments)]
        scales = [
            self.scale(f"{name}.{i}.scale", terms[-1].scale[..., None].numpy())
            for i, terms in enumerate(segments)
        ]
        integers, scale = self._concat(parts), self._concat(scales)
        if not rows.in_order:
            place = self._tensor(f"{name}.place", rows.place)
            integers = self._add("Gather", [integers, place], axis=0)
            scale = self._add("Gather", [scale, place], axis=0)
        if (factor != 1).any():
            gains = self._tensor(f"{name}.gain", factor[:, None, None])
            scale = self._add("Mul", [scale, gains])
        return self._add("Mul", [self._add("Cast", [integers], to=1), scale])

    def _integers(self, terms: list[Term], name: str) -> str:
        """Add q - z, int8 of shape `[n, K' / G, G]`.

        The terms of a code have its bits in different places, so that their sum is the
        bitwise or, which ONNX Runtime computes in 8 bits.
        """
        values = [self._shifted(term, f"{name}.{i}") for i, term in enumerate(terms)]
        total = values[0]
        for value in values[1:]:
            total = self._add("BitwiseOr", [total, value])
        return total

    def _shifted(self, term: Term, name: str) -> str:
        """Add a term's part of q - z."""
        rows, groups, size = term.codes.shape
        if term.bits == 8:  # two's complement
            return self._tensor(f"{name}.codes", (term.codes ^ 128).view(torch.int8))
        codes = self._tensor(f"{name}.codes", term.codes)
        index = self._add("Cast", [codes], to=6)  # int32
        values = (term.table.to(torch.int8) - term.zero) << term.shift
        table = self._tensor(f"table{term.bits}_{term.shift}_{term.zero}", values)
        sizes = self._sizes(rows, groups, size * 8 // term.bits)
        return self._add("Reshape", [self._add("Gather", [table, index]), sizes])

    def _concat(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else self._add("Concat", parts, axis=0)

    def scale(self, name: str, values: np.ndarray) -> str:
        """Add a tensor of scales, in bfloat16 if that is exact; return its name."""
        exact = torch.from_numpy(values.copy())
        if not torch.equal(exact.bfloat16().float(), exact):
            return self._tensor(name, exact)
        return self._add(
            "Cast", [self._tensor(f"{name}16", exact.bfloat16())], name, to=1
        )

    def _sizes(self, *sizes: int) -> str:
        return self._tensor(f"sizes{'_'.join(map(str, sizes))}", torch.tensor(sizes))

    def _tensor(self, name: str, values: Tensor) -> str:
        from onnx import TensorProto, helper, numpy_helper

        if values.dtype == torch.bfloat16:
            raw = values.contiguous().view(torch.int16).numpy().tobytes()
            kind = TensorProto.BFLOAT16
            self.tensors[name] = helper.make_tensor(name, kind, values.shape, raw, True)
        else:
            self.tensors[name] = numpy_helper.from_array(values.numpy(), name)
        return name

    def _add(
        self, kind: str, inputs: list[str], output: str = "", **options: Any
    ) -> str:
        from onnx import helper

        output = output or f"_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **options))
        return output
