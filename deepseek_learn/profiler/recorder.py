"""Record the operators of a pass, with their costs, times and live memory."""

import time
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from .costs import (
    Cost,
    kind_of,
    layer_cost,
    operator_flops,
    packet_of,
    tensors,
    traffic,
)
from .dispatch import EveryOperator
from .module_paths import ModulePaths
from .shapes import all_shapes, in_words, shapes
from .tensor_state import has_storage


@dataclass
class Operator:
    """A single call to an operator, or to a layer that has a cost formula.

    Attributes:
        path: the path of the module that called the operator.
        phase: "forward" or "backward".
        kind: one of `costs.KINDS`, or "covered" if the call is made inside a layer that
            has a cost formula.
        out_bytes: the number of bytes that were newly allocated for the outputs.
        output_shape: the shape of each returned tensor.
    """

    path: str
    name: str
    phase: str
    kind: str
    flops: float
    element_ops: int
    bytes_read: int
    bytes_written: int
    out_bytes: int
    output_shape: tuple = ()


@dataclass(frozen=True)
class AllocatorEvent:
    """The allocation or release of a storage.

    Attributes:
        index: the number of operators recorded before the event.
        storage: a number that identifies the storage.
        size: the size of the storage in bytes; negative if it was freed.
        path: the path of the module that allocated the storage.
    """

    index: int
    storage: int
    size: int
    path: str


class _Pass(EveryOperator):
    """The base class of `Counter` and `Timer`.

    It tracks the module that calls each operator.
    """

    def __init__(self, paths: ModulePaths):
        super().__init__()
        self.paths, self._inside = paths, ExitStack()

    def on_layer(
        self, path: str, layer: nn.Module, inputs: tuple, *output: Any
    ) -> None:
        """Handle the start or the end of a layer (see `ModulePaths.follow`)."""
        raise NotImplementedError

    def on_output(self, path: str, output: Any) -> None:
        """Handle the output of a module, which is ignored by default."""

    def __enter__(self) -> Self:
        self._inside.enter_context(self.paths.follow(self.on_layer, self.on_output))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inside.close()
        super().__exit__(*error)


class Counter(_Pass):
    """Counts the FLOPs, bytes and live storages of every operator, without timing it.

    Attributes:
        operators: the recorded operators, in call order.
        events: the allocations and releases of storages, in order. Storages that
            existed before the pass are not included.
        costs: the cost of each layer that has a cost formula, keyed by path.
        output_shapes: the output shapes of each module as text, keyed by path.
    """

    def __init__(self, paths: ModulePaths, known: list[Tensor]):
        super().__init__(paths)
        self.operators: list[Operator] = []
        self.events: list[AllocatorEvent] = []
        self._alive = {t.untyped_storage()._cdata: -1 for t in known if has_storage(t)}
        self._finalizers: list[weakref.finalize] = []
        self.costs: dict[str, Cost] = {}
        self.output_shapes: dict[str, str] = {}
        self._covered = 0  # number of running layers that have a formula
        self._in_formula = False  # operators called by a formula are not counted

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        if self._in_formula:
            return func(*args, **kwargs)
        # 1. Inputs that no operator has created are weights or constants. Exclude them
        # first: an in-place operator returns one of them.
        inputs = tensors((args, kwargs))
        for tensor in inputs:
            self._exclude(tensor)
        out = func(*args, **kwargs)
        outputs = tensors(out)
        # 2. Cost. Views move no data, and a layer's own formula covers its operators.
        path, phase = self._place()
        flops, kind = self._flops(func, args, kwargs, out)
        moved = kind not in ("view", "covered")
        elements = 0
        if kind == "element":
            elements = max((t.numel() for t in inputs + outputs), default=0)
        # 3. Memory. Only storages that are new count, so views and in-place results do not.
        new = sum(self._track(tensor, path) for tensor in outputs)
        row = Operator(
            path, _name(func), phase, kind, flops, elements,
            traffic(inputs) if moved else 0, traffic(outputs) if moved else 0, new,
            shapes(out),
        )  # fmt: skip
        self.operators.append(row)
        return out

    def on_layer(
        self, path: str, layer: nn.Module, inputs: tuple, *output: Any
    ) -> None:
        if not output:
            self._covered += 1
            return
        self._covered -= 1
        if self._covered:  # the outer formula already includes the inner layers
            return
        self._in_formula = True
        formula = layer_cost(layer)
        assert formula is not None  # only layers with a formula are reported
        cost = formula(layer, inputs, output[0])
        self._in_formula = False
        self.costs[path] = cost
        row = Operator(
            path, type(layer).__name__, "forward", "product", cost.flops, 0,
            cost.bytes_read, cost.bytes_written, 0, shapes(output[0]),
        )  # fmt: skip
        self.operators.append(row)

    def on_output(self, path: str, output: Any) -> None:
        shape = in_words(all_shapes(output))
        previous = self.output_shapes.setdefault(path, shape)
        if shape not in previous.split(" | "):  # called again with a different shape
            self.output_shapes[path] = f"{previous} | {shape}"

    def close(self) -> None:
        """Stop tracking storages that are still alive."""
        for finalizer in self._finalizers:
            finalizer.detach()

    def _place(self) -> tuple[str, str]:
        backward = torch._C._current_autograd_node() is not None
        if not backward:
            self.paths.note_autograd()
        return self.paths.path, "backward" if backward else "forward"

    def _flops(
        self, func: Any, args: tuple, kwargs: dict, out: Any
    ) -> tuple[float, str]:
        if self._covered:
            return 0, "view" if kind_of(func) == "view" else "covered"
        try:
            flops = operator_flops(func, args, kwargs, out)
        except Exception:  # shapes that a formula does not handle, such as nested ones
            return 0, "uncounted"
        return (0, kind_of(func)) if flops is None else (flops, "product")

    def _exclude(self, tensor: Tensor) -> None:
        """Exclude the storage of a tensor that was not created by an operator."""
        if not has_storage(tensor):
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:
            self._alive[storage._cdata] = -1
            # a later tensor may reuse the address
            finalizer = weakref.finalize(storage, self._alive.pop, storage._cdata, None)
            self._finalizers.append(finalizer)

    def _track(self, tensor: Tensor, path: str) -> int:
        """Track the storage of a tensor until it is freed.

        Returns:
            The size of the storage in bytes if it is new, and 0 otherwise.
        """
        if not has_storage(tensor):
            return 0
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return 0
        size, number = storage.nbytes(), len(self.events)
        if not size:
            return 0
        self._alive[key] = number
        index = len(self.operators)
        self.events.append(AllocatorEvent(index, number, size, path))

        def on_free() -> None:
            self._alive.pop(key, None)
            index = len(self.operators)
            self.events.append(AllocatorEvent(index, number, -size, path))

        self._finalizers.append(weakref.finalize(storage, on_free))
        return size


class Timer(_Pass):
    """Times every operator and every layer that has a cost formula, without counting.

    CUDA events are used on a GPU, and the system clock on other devices.

    Attributes:
        calls: the name and the output shapes of each call, in order. They should match
            the operators that `Counter` recorded.
        seconds: the time of each call in seconds, available after `close()`.
    """

    def __init__(self, paths: ModulePaths, device: torch.device):
        super().__init__(paths)
        self.calls: list[tuple] = []
        self.seconds: list[Any] = []
        self._cuda = device.type == "cuda"
        self._layers: list[tuple] = []

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        start = self._now()
        out = func(*args, **kwargs)
        self.seconds.append((start, self._now()))
        self.calls.append((_name(func), shapes(out)))
        return out

    def on_layer(
        self, path: str, layer: nn.Module, inputs: tuple, *output: Any
    ) -> None:
        if not output:
            self._layers.append((self._now(), len(self.seconds)))
            return
        start, first = self._layers.pop()
        if not self._layers:
            self.seconds.append((start, self._now(), slice(first, len(self.seconds))))
            self.calls.append((type(layer).__name__, shapes(output[0])))

    def close(self) -> None:
        """Convert the timestamps to seconds.

        The time of a layer does not include the operators that it calls.
        """
        if self._cuda:
            torch.cuda.synchronize()
        timestamps, self.seconds = self.seconds, []
        for start, end, *layer_calls in timestamps:
            elapsed = start.elapsed_time(end) / 1e3 if self._cuda else end - start
            for calls in layer_calls:
                elapsed -= sum(self.seconds[calls])
            self.seconds.append(max(elapsed, 0.0))

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _name(func: Any) -> str:
    return str(packet_of(func)).removeprefix("aten.")
