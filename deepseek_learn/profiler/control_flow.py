"""Run `torch.cond` and similar operators as plain Python control flow.

PyTorch compiles the body of a condition or a loop into a single operator. If this
operator ran uncompiled, autograd would not see the parameters that its functions use.
When the control flow runs as Python code instead, the profiler can count the operators
inside it, and autograd records them as usual.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey


def _cond(
    condition: Any,
    true_function: Callable,
    false_function: Callable,
    operands: Iterable,
) -> Any:
    return (true_function if condition else false_function)(*operands)


def _while_loop(
    condition: Callable, body: Callable, carry: Iterable, others: Iterable
) -> Any:
    while condition(*carry, *others):
        carry = body(*carry, *others)
    return carry


def _map(function: Callable, inputs: Iterable[Tensor], others: Iterable) -> list:
    """Apply the function to each row of the inputs and stack the results."""
    rows = zip(*(x.unbind() for x in inputs), strict=True)
    return _stacked([function(*row, *others) for row in rows])


def _scan(
    function: Callable, carry: Sequence, inputs: Sequence[Tensor], others: Iterable
) -> list:
    """Apply the function to each row, passing the carry from one call to the next."""
    outputs, count = [], len(carry)
    for row in zip(*(x.unbind() for x in inputs), strict=True):
        results = function(*carry, *row, *others)
        carry, output = results[:count], results[count:]
        outputs.append(output)
    return [*carry, *_stacked(outputs)]


def _stacked(rows: list) -> list:
    return [torch.stack(column) for column in zip(*rows, strict=True)]


_IN_PYTHON = {"cond": _cond, "while_loop": _while_loop, "map_impl": _map, "scan": _scan}


@contextmanager
def in_python() -> Iterator[None]:
    """Run control-flow operators as Python code inside the block."""
    candidates = {n: getattr(torch.ops.higher_order, n, None) for n in _IN_PYTHON}
    operators = {name: op for name, op in candidates.items() if op is not None}
    kernels = {name: dict(op.py_kernels) for name, op in operators.items()}
    try:
        for name, operator in operators.items():
            operator.py_kernels[DispatchKey.Autograd] = _IN_PYTHON[name]
            operator._dispatch_cache.clear()
        yield
    finally:
        for name, operator in operators.items():
            operator.py_kernels.update(kernels[name])
            operator._dispatch_cache.clear()
