"""Analyze what a module's `forward` does with its children, before any folding.

Names prove nothing: `conv1` and `bn1` may run in a different order, more than once, or
with something in between. Therefore, `torch.fx` traces each module's own `forward`,
with one step per child.
"""

import copy
import inspect
import sys
from collections import Counter
from dataclasses import dataclass

from torch import fx, nn


class _Symbol(fx.Proxy):
    """A symbolic input that raises on a forward's `isinstance(x, ...)`."""

    @property  # type: ignore[misc]  # settable on `object`; it need not be here
    def __class__(self) -> type:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("torch."):  # the tracer itself needs the type
            return _Symbol
        raise fx.proxy.TraceError("the forward branches on the type of its input.")


class _OneLevel(fx.Tracer):
    """Traces one `forward`; every child is a single step."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Symbol(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def forward_graph(module: nn.Module) -> fx.Graph | None:
    """Return the steps of `module.forward`, or None if they are uncertain.

    The steps are uncertain if there are optional arguments, branches on the input's
    values, shape or type, a replaced `forward` or `__call__`, or tensors that do not
    come from the input.
    """
    try:
        if not _has_one_way_to_run(module):
            return None
        # a shallow copy, because a forward may store tensors on `self`
        graph = _OneLevel().trace(copy.copy(module))
    except Exception:  # any forward may raise anything on a symbolic input
        return None
    targets = [str(node.target) for node in graph.nodes]
    has_constants = any(target.startswith("_tensor_constant") for target in targets)
    return None if has_constants else graph


def _has_one_way_to_run(module: nn.Module) -> bool:
    known_call = type(module).__call__ is nn.Module.__call__
    known_call = known_call or isinstance(module, fx.GraphModule)
    if "forward" in vars(module) or not known_call:
        return False
    _, *arguments = inspect.signature(type(module).forward).parameters.values()
    return all(
        a.kind is a.POSITIONAL_OR_KEYWORD and a.default is a.empty for a in arguments
    )


@dataclass(frozen=True)
class Forward:
    """A module, its name in the model, and the steps of its `forward`."""

    name: str
    module: nn.Module
    graph: fx.Graph


def forwards(model: nn.Module) -> list[Forward]:
    """List the modules of `model` that have children and whose steps are certain."""
    return [
        Forward(name, module, graph)
        for name, module in model.named_modules()
        if next(module.children(), None) is not None
        and (graph := forward_graph(module)) is not None
    ]


def count_uses(certain: list[Forward]) -> Counter:
    """Map `id(module)` to the number of times that `forward` methods use the module.

    A use is a call of the module or a read of one of its tensors.
    """
    uses: Counter = Counter()
    for forward in certain:
        for node in forward.graph.nodes:
            name = node.target if node.op == "call_module" else ""
            if node.op == "get_attr":
                name = node.target.rpartition(".")[0]
            if name:
                uses[id(forward.module.get_submodule(name))] += 1
    return uses


def steps(graph: fx.Graph | None) -> list[tuple[str, str]]:
    """Return the kind and target of each step, so that two graphs can be compared."""
    return [(node.op, str(node.target)) for node in graph.nodes] if graph else []
