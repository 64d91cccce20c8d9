"""How packed planes are multiplied: C++, PyTorch's int4 product, plain PyTorch, Triton.

`backend()` says which is used and why. All compute the same product; the float64
reference and each one's error bound stand in `tests/dpg/`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from ...catalog import text
from ...errors import DeepSeekLearnError
from . import torch_backend

# in order of preference on each kind of device
PREFERRED = {"cpu": ("cpp", "int4", "torch"), "cuda": ("triton", "torch")}
_chosen: str | None = os.environ.get("DEEPSEEK_LEARN_DPG_BACKEND") or None


@dataclass(frozen=True)
class Backend:
    """The way of multiplying in use.

    Attributes:
        name: "cpp", "int4", "torch" or "triton".
        reason: why this one, in words.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def backend(device: str = "cpu") -> Backend:
    """Which kernel multiplies packed planes on `device`, and why.

    Raises:
        DeepSeekLearnError: when the one asked for by `use_backend` or by the variable
            DEEPSEEK_LEARN_DPG_BACKEND does not work here.
    """
    kind = torch.device(device).type
    names = PREFERRED.get(kind, ("torch",))
    if _chosen is not None:
        if _chosen not in names:
            raise DeepSeekLearnError(
                f"DPG backend {_chosen!r} is not for {kind}; there are {names}."
            )
        problem = _problem(_chosen)
        if problem:
            raise DeepSeekLearnError(f"DPG backend {_chosen!r}: {problem}")
        return Backend(_chosen, text("dpg.backend_chosen"))
    missing = []
    for name in names:
        problem = _problem(name)
        if not problem:
            reason = text(f"dpg.backend_{name}", **_module(name).facts())
            return Backend(name, " ".join([reason, *missing]))
        missing.append(text("dpg.backend_missing", name=name, problem=problem))
    raise AssertionError("plain torch always works")


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Multiply with this backend inside the block; None: choose as usual."""
    global _chosen
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def multiply(matrix, x: Tensor, bias: Tensor | None) -> Tensor:
    r"""`x` float32 `[M, K]` times the packed `[N, K]`: :math:`x \hat W^\top + b`, `[M, N]`.

    Where gradients with respect to `x` are asked for, or a graph is being traced, the
    weight is unpacked and PyTorch's own product is used.
    """
    if torch.jit.is_tracing():  # it would not see what our kernel computes
        raise DeepSeekLearnError(
            "a DPG-compressed model cannot be traced by torch.jit; use torch.export or "
            "torch.compile."
        )
    traced = torch.compiler.is_compiling() or x.device.type == "meta"
    if traced or (x.requires_grad and torch.is_grad_enabled()):
        return torch_backend.multiply(matrix, x, bias)
    kernel = _module(_name(x.device.type, _chosen))
    if matrix.wide and kernel.representable is not None:
        # what rounding the activations would lose is multiplied too: about 16 bits
        coarse = kernel.representable(x)
        y = kernel.multiply(matrix, coarse, bias)
        return y.add_(kernel.multiply(matrix, x - coarse, None))
    return kernel.multiply(matrix, x, bias)


def count_active(y: Tensor, outer: int, neurons: int, inner: int) -> Tensor:
    """Where `y`, contiguous as `[outer, neurons, inner]`, is above zero: int64 `[neurons]`.

    With the C++ kernel where there is one: it reads each value once and writes none.
    """
    on_cpu = y.device.type == "cpu" and y.dtype == torch.float32
    if on_cpu and _chosen in (None, "cpp") and _name("cpu", None) == "cpp":
        return _module("cpp").count_active(y, outer, neurons, inner).long()
    return (y.view(outer, neurons, inner) > 0).byte().sum(2).sum(0)


@cache
def _name(kind: str, chosen: str | None) -> str:
    return backend(kind).name


@cache
def _problem(name: str) -> str:
    """Why a backend does not work here, or an empty text."""
    return _module(name).problem()


@cache
def _module(name: str):
    return import_module(f".{name}_backend", __package__)
