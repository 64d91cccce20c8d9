"""Trace what each module's `forward` method does with its children.

Layer names are not reliable: `conv1` and `bn1` may run in a different order, more than
once, or with another operation in between. Each module's own `forward` is therefore
traced with `torch.fx`, and each child is recorded as a single step.
"""

import copy
import inspect
import sys
from collections import Counter
from dataclasses import dataclass

from torch import fx, nn


class _Symbol(fx.Proxy):
    """A symbolic input that raises an error if `forward` checks its type."""

    @property  # type: ignore[misc]  # settable on `object`, but not here
    def __class__(self) -> type:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("torch."):  # the tracer itself needs the type
            return _Symbol
        raise fx.proxy.TraceError("the forward branches on the type of its input.")


class _OneLevel(fx.Tracer):
    """A tracer for a single `forward`, in which every child is one step."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Symbol(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def forward_graph(module: nn.Module) -> fx.Graph | None:
    """Return the graph of `module.forward`, or None if its steps are uncertain.

    The steps are uncertain if `forward` has optional arguments, branches on the value,
    shape or type of its input, or uses tensors that do not come from the input. They
    are also uncertain if `forward` or `__call__` has been replaced.
    """
    try:
        if not _has_one_way_to_run(module):
            return None
        # a shallow copy, because a forward may store tensors on `self`
        graph = _OneLevel().trace(copy.copy(module))
    except Exception:  # with a symbolic input, a forward may raise any exception
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
    """A module, its name in the model, and the graph of its `forward`."""

    name: str
    module: nn.Module
    graph: fx.Graph


def forwards(model: nn.Module) -> list[Forward]:
    """Return the non-leaf modules whose `forward` can be traced with certainty."""
    return [
        Forward(name, module, graph)
        for name, module in model.named_modules()
        if next(module.children(), None) is not None
        and (graph := forward_graph(module)) is not None
    ]


def count_uses(certain: list[Forward]) -> Counter:
    """Count how many times the `forward` methods use each module.

    A use is a call to the module or an access to one of its tensors. The keys of the
    result are `id(module)`.
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
    """Return the kind and target of each step, for comparing two graphs."""
    return [(node.op, str(node.target)) for node in graph.nodes] if graph else []
