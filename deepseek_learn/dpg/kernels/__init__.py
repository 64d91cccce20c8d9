"""Backends for packed products: C++, PyTorch int4, plain PyTorch and Triton.

All backends compute the same product, and `backend()` reports which one is in use and
why. The tests in `tests/dpg/` check each backend against a float64 reference and its
error bound.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...catalog import text
from ...errors import DeepSeekLearnError
from . import torch_backend

if TYPE_CHECKING:
    from ..packed import PackedMatrix

# in order of preference for each device type
PREFERRED = {"cpu": ("cpp", "int4", "torch"), "cuda": ("triton", "torch")}
MANY_ROWS = 8192  # from which on gradients unpack a matrix in pieces
_override: str | None = os.environ.get("DEEPSEEK_LEARN_DPG_BACKEND") or None


@dataclass(frozen=True)
class Backend:
    """The backend in use.

    Attributes:
        name: "cpp", "int4", "torch" or "triton".
        reason: a sentence that explains why the backend was selected.

    >>> from deepseek_learn import dpg
    >>> type(dpg.backend("cpu")).__name__
    'Backend'
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def backend(device: str = "cpu") -> Backend:
    """Return the backend used for packed products on `device`, and why it was selected.

    Raises:
        DeepSeekLearnError: if the backend requested with `use_backend` or the
            environment variable DEEPSEEK_LEARN_DPG_BACKEND is unavailable.

    >>> from deepseek_learn import dpg
    >>> with dpg.use_backend("torch"):
    ...     print(dpg.backend().name)
    torch
    """
    kind = torch.device(device).type
    names = PREFERRED.get(kind, ("torch",))
    if _override is not None:
        if _override not in names:
            raise DeepSeekLearnError(
                f"DPG backend {_override!r} does not support {kind}; use one of {names}."
            )
        problem = _problem(_override)
        if problem:
            raise DeepSeekLearnError(f"DPG backend {_override!r}: {problem}")
        return Backend(_override, text("dpg.backend_chosen"))
    unavailable: list[str] = []
    for name in names:
        problem = _problem(name)
        if not problem:
            reason = text(f"dpg.backend_{name}", **_module(name).facts())
            return Backend(name, " ".join([reason, *unavailable]))
        unavailable.append(text("dpg.backend_missing", name=name, problem=problem))
    raise AssertionError("plain torch always works")


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Use the named backend inside the block; None selects the default backend.

    >>> from deepseek_learn import dpg
    >>> with dpg.use_backend("torch"):
    ...     name = dpg.backend().name
    >>> name
    'torch'
    """
    global _override
    before, _override = _override, name
    try:
        yield
    finally:
        _override = before


def multiply(matrix: "PackedMatrix", x: Tensor, bias: Tensor | None) -> Tensor:
    r"""Multiply `x` by the transpose of a packed matrix, and add the bias.

    For a float32 `x` of shape `[M, K]` and a matrix of shape `[N, K]`, the result is
    :math:`x \hat W^\top + b`, of shape `[M, N]`. If `x` requires gradients, or if a
    graph is being traced, the weight is unpacked and multiplied with PyTorch's own
    operator.
    """
    if torch.jit.is_tracing():  # a trace would not record the kernel's computation
        raise DeepSeekLearnError(
            "a DPG-compressed model cannot be traced by torch.jit; use torch.export or "
            "torch.compile."
        )
    if torch.compiler.is_compiling() or x.device.type == "meta":
        return torch_backend.multiply(matrix, x, bias)
    if x.requires_grad and torch.is_grad_enabled():
        return PackedProduct.apply(x, matrix, bias)
    kernel = _module(_name(x.device.type, _override))
    if matrix.wide and kernel.representable is not None:
        # Multiply the rounding error of the activations as well, for about 16 bits.
        coarse = kernel.representable(x, matrix.group_size)
        y = kernel.multiply(matrix, coarse, bias)
        return y.add_(kernel.multiply(matrix, x - coarse, None))
    return kernel.multiply(matrix, x, bias)


class PackedProduct(torch.autograd.Function):
    """A packed product whose gradient unpacks the weight again.

    If the graph kept the unpacked weights, a model would take as much memory as in float
    until the end of the backward pass. A matrix with many rows, such as the head of a
    language model, is never unpacked as a whole.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrix: "PackedMatrix", bias: Tensor | None
    ) -> Tensor:
        ctx.matrix, ctx.precision = matrix, (matrix.max_bits, matrix.refined)
        if matrix.rows <= MANY_ROWS:
            return torch_backend.multiply(matrix, x, bias)
        y = x.new_zeros(len(x), matrix.rows + 1)
        for rows, values in matrix.pieces():
            y.index_add_(1, rows, x @ values[:, : matrix.columns].T)
        y = y[:, : matrix.rows]
        return y if bias is None else y.add_(bias.float())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        matrix, [g] = ctx.matrix, gradients
        now = matrix.max_bits, matrix.refined
        matrix.max_bits, matrix.refined = ctx.precision  # as in the forward pass
        try:
            if matrix.rows <= MANY_ROWS:
                return g @ matrix.dequantize(), None, None
            total = g.new_zeros(len(g), matrix.columns)
            for rows, values in matrix.pieces():
                stored = rows < matrix.rows  # without padding
                total += g[:, rows[stored]] @ values[stored, : matrix.columns]
        finally:
            matrix.max_bits, matrix.refined = now
        return total, None, None


def can_group(x: Tensor, *weights: Tensor) -> bool:
    """Whether `grouped` and `grouped_packed` can multiply `x`, without gradients."""
    tensors = (x, *weights)
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return False
    return _override in (None, "cpp") and _name("cpu", None) == "cpp"


def grouped(x: Tensor, load: Tensor, weight: Tensor) -> Tensor:
    """Multiply tokens sorted by expert by their expert's matrix, in one call.

    This reads each weight once and copies none, which is faster than a batched product
    if each expert has only a few tokens. Call it only if `can_group` is True.

    Args:
        x: the tokens, a tensor of shape `[n, K]`.
        load: the number of tokens of each expert, of shape `[E]`.
        weight: the matrices, of shape `[E, N, K]`.

    Returns:
        A tensor of shape `[n, N]`.
    """
    return _module("cpp").grouped(x, load, weight)


def grouped_packed(
    x: Tensor, load: Tensor, matrices: "Sequence[PackedMatrix]"
) -> Tensor:
    """Multiply tokens sorted by expert by their expert's packed matrix, in one call.

    Call it only if `can_group` is True.

    Args:
        x: the tokens, a float32 tensor of shape `[n, K]`.
        load: the number of tokens of each expert, of shape `[E]`.
        matrices: the E matrices of shape `[N, K]`, all with the same group size.

    Returns:
        A tensor of shape `[n, N]`.
    """
    return _module("cpp").grouped_packed(x, load, matrices)


def can_count(y: Tensor) -> bool:
    """Check whether the C++ kernel can count the active neurons of this tensor."""
    on_cpu = y.device.type == "cpu" and y.dtype == torch.float32
    return on_cpu and _override in (None, "cpp") and _name("cpu", None) == "cpp"


def count_active(y: Tensor, outer: int, neurons: int, inner: int) -> Tensor:
    """Count the values above zero for each neuron.

    `y` is a contiguous tensor with the layout `[outer, neurons, inner]`, and the result
    is an int64 tensor of shape `[neurons]`. If the C++ kernel is available, it is used,
    because it reads each value once and writes no intermediate tensor.
    """
    if can_count(y):
        return _module("cpp").count_active(y, (outer, neurons, inner))
    return (y.view(outer, neurons, inner) > 0).byte().sum(2).sum(0)


def relu_and_count(
    x: Tensor, sizes: tuple[int, int, int], upper: float, inplace: bool
) -> tuple[Tensor, Tensor]:
    """Compute max(0, min(x, upper)) and `count_active(x, *sizes)` in one pass.

    `can_count(x)` must be true, and `x` must be dense, with the layout `sizes`.
    """
    y = x if inplace else torch.empty_like(x)
    return y, _module("cpp").count_active(x, sizes, y, upper)


@cache
def _name(kind: str, override: str | None) -> str:
    return backend(kind).name


@cache
def _problem(name: str) -> str:
    """Return why a backend is unavailable, or an empty string if it is available."""
    return _module(name).problem()


@cache
def _module(name: str) -> Any:
    return import_module(f".{name}_backend", __package__)
