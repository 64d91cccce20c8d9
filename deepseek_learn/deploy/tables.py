"""Pack the tables in which rows are looked up, such as those of tokens.

They are stored as int8 with one scale per row; the rows are decoded when they are read.
"""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

TABLE = 2**14  # numbers of a table that is worth packing


def pack_tables(proto: "onnx.ModelProto") -> None:
    """Store the tables of `Gather` as int8 with one scale per row, in place."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    tables = {each.name: each for each in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    nodes = []
    for node in graph.node:
        name = node.input[0] if node.op_type == "Gather" else ""
        first = all(each.i == 0 for each in node.attribute if each.name == "axis")
        if name not in tables or not first or readers[name] > 1:
            nodes.append(node)
            continue
        table = numpy_helper.to_array(tables[name])
        if table.dtype != np.float32 or table.ndim != 2 or table.size < TABLE:
            nodes.append(node)
            continue
        scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-30) / 127
        packed = np.rint(table / scale).astype(np.int8)
        graph.initializer.remove(tables[name])
        for ending, values in (("_int8", packed), ("_scale", scale)):
            graph.initializer.append(numpy_helper.from_array(values, f"{name}{ending}"))
        own, index, out = f"{node.name or name}_", node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{name}_int8", index], [f"{own}rows"]),
            helper.make_node(
                "Cast", [f"{own}rows"], [f"{own}floats"], to=TensorProto.FLOAT
            ),
            helper.make_node("Gather", [f"{name}_scale", index], [f"{own}scales"]),
            helper.make_node("Mul", [f"{own}floats", f"{own}scales"], [out]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
