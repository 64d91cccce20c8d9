"""`torch.cond` and its kind as the Python they stand for.

PyTorch makes one operator of a condition or a loop by compiling what is in it. Uncompiled,
that operator would hide the parameters its functions use from autograd; as Python it
calls the operators that a profile is about, and autograd follows them as ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._C import DispatchKey


def _cond(condition, true_function, false_function, operands):
    return (true_function if condition else false_function)(*operands)


def _while_loop(condition, body, carried, others):
    while condition(*carried, *others):
        carried = body(*carried, *others)
    return carried


def _map(function, inputs, others):
    """The function of each row of the inputs; what it returns is stacked."""
    rows = zip(*(x.unbind() for x in inputs), strict=True)
    return _stacked([function(*row, *others) for row in rows])


def _scan(function, carried, inputs, others):
    """As `_map`, but each call gets the first results of the one before."""
    outputs, count = [], len(carried)
    for row in zip(*(x.unbind() for x in inputs), strict=True):
        results = function(*carried, *row, *others)
        carried, output = results[:count], results[count:]
        outputs.append(output)
    return [*carried, *_stacked(outputs)]


def _stacked(rows: list) -> list:
    return [torch.stack(column) for column in zip(*rows, strict=True)]


_IN_PYTHON = {"cond": _cond, "while_loop": _while_loop, "map_impl": _map, "scan": _scan}


@contextmanager
def in_python() -> Iterator[None]:
    """Inside, these operators are Python; after it they are what they were."""
    found = {n: getattr(torch.ops.higher_order, n, None) for n in _IN_PYTHON}
    operators = {name: op for name, op in found.items() if op is not None}
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
