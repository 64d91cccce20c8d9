"""Replace 3 x 3 convolutions by the engine's Winograd kernel.

The kernel computes F(4 x 4, 3 x 3), which needs 36 multiplications for 16 outputs instead
of 144, so it can be faster than any direct convolution. On small images it computes
F(2 x 2, 3 x 3), with 16 multiplications for 4 outputs instead of 36. After loading, it
keeps a copy of the weights that is four times as large, or 1.8 times; the file does not
grow. An input that is NaN, infinite or too large for the sums makes whole tiles NaN.

In the model file, each replaced layer calls a function that is defined in the same file in
terms of standard operators. A runtime without the kernel, such as ONNX Runtime in Python,
computes that function instead.
Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", CVPR. The kernel is
`engine/winograd.cpp`.
"""

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from .export import copy_of

if TYPE_CHECKING:
    import onnx

DOMAIN = "deepseek_learn"
MIN_TILES, MIN_INPUTS = 9, 8  # with fewer, the transforms are most of the work
FUNCTIONS_IR = 8  # the first version of ONNX's format with functions


def with_winograd(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy of the model in which the kernel computes the layers it suits.

    These are the convolutions in float32 with a kernel of 3 x 3, stride 1, padding 1 and
    one group, constant weights, at least `MIN_INPUTS` input channels, and an output of
    known size with at least `MIN_TILES` tiles of 4 x 4 or else of 2 x 2. If such a layer
    is the only reader of two tensors joined along the channels, or is read only by a ReLU,
    the joining and the ReLU become part of it.
    """
    changed = copy_of(proto)
    network = _Network(changed)
    functions = {}
    for node in [*changed.graph.node]:
        if tile := network.tile(node):
            call = network.replace(node, tile)
            functions[call] = _function(call, network.opset)
    if functions:
        from onnx import helper

        changed.functions.extend(functions[name] for name in sorted(functions))
        changed.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        changed.ir_version = max(changed.ir_version, FUNCTIONS_IR)
    return changed


class _Network:
    """A graph that is changed in place."""

    def __init__(self, proto: "onnx.ModelProto"):
        from onnx import shape_inference

        graph = self.graph = proto.graph
        inputs = {port.name for port in graph.input}  # which a caller may replace
        constant = [each for each in graph.initializer if each.name not in inputs]
        self.weights = {each.name: each for each in constant}
        self.names = inputs | {each.name for each in graph.initializer}
        self.names.update(name for node in graph.node for name in node.output)
        self.zeros: dict[str, str] = {}  # weight → a bias of zeros for it
        inferred = shape_inference.infer_shapes(proto).graph
        self.sizes = {
            port.name: [size.dim_value for size in port.type.tensor_type.shape.dim]
            for port in (*inferred.value_info, *inferred.output)  # 0: not known
        }
        self.opset = next(o for o in proto.opset_import if o.domain in STANDARD)
        self.writers = {name: node for node in graph.node for name in node.output}
        self.readers = defaultdict(list, {port.name: [None] for port in graph.output})
        for node in graph.node:
            for name in _read_by(node):
                self.readers[name].append(node)

    def tile(self, node: "onnx.NodeProto") -> int:
        """Return the size of the tiles for this layer; 0 if it does not suit the kernel."""
        from onnx import TensorProto, helper

        if node.op_type != "Conv" or node.domain not in STANDARD:
            return 0
        if any(name not in self.weights for name in node.input[1:]):
            return 0
        weight = self.weights[node.input[1]]
        _, inputs, *kernel = weight.dims
        values = {
            each.name: helper.get_attribute_value(each) for each in node.attribute
        }
        is_plain = (
            weight.data_type == TensorProto.FLOAT
            and kernel == [3, 3]
            and inputs >= MIN_INPUTS
            and values.get("auto_pad", b"NOTSET") == b"NOTSET"
            and values.get("pads") == [1] * 4
            and values.get("group", 1) == 1
            and values.get("strides", [1, 1]) == [1, 1]
            and values.get("dilations", [1, 1]) == [1, 1]
        )
        # larger tiles save more multiplications, but a small image has too few of them
        *_, height, width = self.sizes.get(node.output[0]) or (0, 0)
        for size in (4, 2) if is_plain else ():
            if math.ceil(height / size) * math.ceil(width / size) >= MIN_TILES:
                return size
        return 0

    def replace(self, node: "onnx.NodeProto", tile: int) -> str:
        """Turn the layer into a call to the kernel; return the name of its function."""
        from onnx import helper

        name, (x, weight, *bias) = "Conv", node.input
        tensors = [x]
        # 1. Read two joined tensors in place instead of copying them into one.
        join = self.writers.get(x)
        if join is not None and self._is_own_join(join):
            name, tensors = "ConcatConv", [*join.input]
            self.graph.node.remove(join)
        # 2. Apply the ReLU while the tile is still in the cache.
        readers = self.readers[node.output[0]]
        if len(readers) == 1 and _is(readers[0], "Relu"):
            name, node.output[0] = f"{name}Relu", readers[0].output[0]
            self.graph.node.remove(readers[0])
        # 3. Call the function instead of Conv. It always adds a bias, so a layer without
        # one passes zeros.
        node.op_type, node.domain = f"Winograd{name}", DOMAIN
        del node.attribute[:], node.input[:]
        node.attribute.append(helper.make_attribute("tile", tile))
        node.input.extend([*tensors, weight, *(bias or [self._zeros(weight)])])
        return node.op_type

    def _is_own_join(self, node: "onnx.NodeProto") -> bool:
        """Check whether the node joins two tensors along the channels for one reader."""
        return (
            _is(node, "Concat")
            and len(node.input) == 2
            and [each.i for each in node.attribute if each.name == "axis"] == [1]
            and len(self.readers[node.output[0]]) == 1
        )

    def _zeros(self, weight: str) -> str:
        from onnx import numpy_helper

        if weight not in self.zeros:
            name = f"{weight}_zero_bias"
            while name in self.names:
                name += "_"
            zeros = np.zeros(self.weights[weight].dims[0], np.float32)
            self.graph.initializer.append(numpy_helper.from_array(zeros, name))
            self.names.add(name)
            self.zeros[weight] = name
        return self.zeros[weight]


STANDARD = ("", "ai.onnx")  # the names of the domain of the standard operators


def _read_by(node: "onnx.NodeProto") -> list[str]:
    """Return the names of the tensors that a node and the graphs inside it read."""
    graphs = [each.g for each in node.attribute if each.HasField("g")]
    inside = [
        name for graph in graphs for each in graph.node for name in _read_by(each)
    ]
    ports = [port.name for graph in graphs for port in graph.output]
    return [*node.input, *inside, *ports]


def _is(node: "onnx.NodeProto | None", kind: str) -> bool:
    return node is not None and node.op_type == kind and node.domain in STANDARD


def _function(name: str, opset: "onnx.OperatorSetIdProto") -> "onnx.FunctionProto":
    """Define the function `name` in terms of standard operators."""
    from onnx import helper

    joins, has_relu = "Concat" in name, name.endswith("Relu")
    inputs = ["x", "rest", "w", "b"] if joins else ["x", "w", "b"]
    x, y = "joined" if joins else "x", "sum" if has_relu else "y"
    nodes = [helper.make_node("Conv", [x, "w", "b"], [y], pads=[1] * 4)]
    if joins:
        nodes.insert(0, helper.make_node("Concat", ["x", "rest"], [x], axis=1))
    if has_relu:
        nodes.append(helper.make_node("Relu", [y], ["y"]))
    imports = [helper.make_opsetid("", opset.version)]
    return helper.make_function(
        DOMAIN, name, inputs, ["y"], nodes, imports, attributes=["tile"]
    )
