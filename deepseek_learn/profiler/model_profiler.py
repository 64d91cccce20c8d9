"""Profile a model by one counting pass, one pass for the allocator, and several timed
passes that alternate with plain ones. All passes start from the same state, which is
restored at the end.
"""

import statistics
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..bar import Bar
from ..catalog import text
from ..measure import clock
from ..measure.memory import peak_bytes
from ..measure.roof import measured_roof
from .control_flow import in_python
from .costs import tensors
from .inputs import random_inputs
from .memory import live
from .module_paths import ModulePaths
from .recorder import Counter, Operator, Timer
from .restoring import Start, UnsteadyModelError, as_it_was, materialized, on
from .result import Profile
from .shapes import in_words, leaves
from .weights import distribution

Loss = Callable[[Any], Tensor]
# dtypes whose roof can be measured; for others, the float32 roof is used
MULTIPLIED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHOW_BAR_S = 2.0  # a longer profile shows a progress bar


def profile(
    model: nn.Module,
    example: Any = None,
    train: bool = False,
    *,
    input_size: Sequence | None = None,
    loss: Loss | None = None,
    repeats: int = 5,
    progress: bool | None = None,
) -> Profile:
    """Measure what one forward pass or one training step of `model` on `example` costs.

    Every pass starts from the same state, and the model, its arguments (including caches)
    and the random number generators are restored at the end. State that a call saves for
    the next one, such as a lazily built table, is therefore rebuilt in every pass. To
    profile a later call, call the model once beforehand.

    Args:
        example: one tensor, a tuple of several arguments, or a dict of named arguments.
        input_size: instead of `example`, its shape, such as (1, 3, 224, 224), or the
            shapes of several arguments; random values are drawn in the model's dtype.
        train: if True, run forward in training mode and then backward; if False, run
            forward in evaluation mode, without gradients.
        loss: a function that maps the output to a scalar to differentiate; by default,
            the sum of all output tensors that require gradients.
        repeats: number of timed passes, each paired with a plain one.
        progress: whether to show a bar; None shows one if the profile takes more than
            two seconds.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if `repeats` is below 1, there is nothing to differentiate, or not
            exactly one of `example` and `input_size` is given.
        UnsteadyModelError: if passes differ although they seem to start from the same
            state, or if a pass changes something that cannot be restored.
        Exception: if the model raises; its errors are passed on unchanged.
    """
    profiler = ModelProfiler(
        model, train=train, loss=loss, repeats=repeats, progress=progress
    )
    if (example is None) == (input_size is None):
        raise ValueError("profile takes either an example or input_size.")
    if input_size is not None:
        example = random_inputs(model, input_size)
    args, kwargs = _arguments(example)
    return profiler(*args, **kwargs)


class ModelProfiler:
    """A profiler to call with the model's arguments: `ModelProfiler(model)(example)`.

    It takes the same options as `profile`.

    >>> ModelProfiler(resnet)(images).why()                       # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        train: bool = False,
        loss: Loss | None = None,
        repeats: int = 5,
        progress: bool | None = None,
    ):
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model must be a torch.nn.Module; got {type(model).__name__}."
            )
        if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
            raise ValueError(
                f"repeats must be a whole number of at least 1; got {repeats!r}."
            )
        self.model, self.train, self.loss = model, train, loss
        self.repeats, self.progress = repeats, progress

    def __call__(self, *args: Any, **kwargs: Any) -> Profile:
        notes = []
        model = self.model
        if hasattr(model, "_orig_mod"):  # torch.compile wraps the modules
            model = model.get_submodule("_orig_mod")
            notes.append(text("profiler.note_compiled"))
        if any(isinstance(m, torch.jit.ScriptModule) for m in model.modules()):
            notes.append(text("profiler.note_scripted"))
        inputs = tensors((args, kwargs))
        device = _device(model, inputs)
        if device.type == "meta":
            notes.append(text("profiler.note_meta"))
        with _uncompiled(), on(device):
            model = materialized(model, args, kwargs)
            with as_it_was(model, self.train, args, kwargs, self.loss) as start:
                step = _Step(model, args, kwargs, self.train, self.loss, start)
                return self._profile(model, step, inputs, device, notes)

    def _profile(
        self,
        model: nn.Module,
        step: "_Step",
        inputs: list[Tensor],
        device: torch.device,
        notes: list[str],
    ) -> Profile:
        first = _seconds(step, device, step.first)  # raises what the model raises
        dtype = _dtype(model, inputs)
        machine = torch.device("cpu") if device.type == "meta" else device
        measured_roof(machine, dtype, spent=0)  # measures only if not measured yet
        start = time.perf_counter()
        paths = ModulePaths(model)
        total = 2 + 2 * self.repeats
        show = first * total > SHOW_BAR_S if self.progress is None else self.progress
        with Bar(total, show, text("profiler.bar")) as bar:
            step.prepare()
            counter = Counter(paths, step.start.tensors)
            with counter:
                step()
            operators, allocations = counter.operators, list(counter.allocations)
            counter.close()
            calls = dict(paths.calls)
            bar.advance(1)
            step.prepare()
            peak = peak_bytes(step, device)
            bar.advance(1)
            sides: dict[str, Callable[[], Any]] = {
                "plain": lambda: _seconds(step, device),
                "timed": lambda: _timed(step, paths, device, operators),
            }
            readings = clock.in_turn(sides, self.repeats, lambda: bar.advance(1))
        plain, timed = readings["plain"], readings["timed"]
        if device.type == "meta":  # meta tensors compute nothing
            plain, timed = [float("nan")], []
        frame = _operator_frame(operators, timed)
        low, median, high = _quartiles(plain)
        return Profile(
            model=type(model).__name__,
            train=self.train,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            latency_ms=1e3 * median,
            latency_low_ms=1e3 * low,
            latency_high_ms=1e3 * high,
            operators=frame,
            layers=_layer_frame(paths, calls, counter),
            memory=live(operators, allocations, peak),
            roof=measured_roof(machine, dtype, spent=time.perf_counter() - start),
            weights=distribution(model),
            notes=tuple(notes),
        )


class _Step:
    """One forward pass, or forward and backward, from the same state each time."""

    def __init__(
        self,
        model: nn.Module,
        args: tuple,
        kwargs: dict,
        train: bool,
        loss: Loss | None,
        start: Start,
    ):
        self.model, self.args, self.kwargs = model, args, kwargs
        self.train, self.loss, self.start = train, loss or _sum, start

    def prepare(self) -> None:
        """Restore the start state, with no gradients and the same random numbers."""
        self.start.again()

    def first(self) -> None:
        """Run the first pass, which records what passes overwrite."""
        self.start.first(self)

    def __call__(self) -> None:
        with torch.set_grad_enabled(self.train):
            answer = self.model(*self.args, **self.kwargs)
            if self.train:
                loss = self.loss(answer)
                self.start.check_graph(loss)
                loss.backward()


def _sum(answer: Any) -> Tensor:
    """Return the sum of all output tensors that require gradients."""
    parts = [_real(leaf).sum() for leaf in leaves(answer) if leaf.requires_grad]
    if not parts:
        raise ValueError(
            "train=True needs an output that depends on parameters with "
            "requires_grad=True; got none (pass loss=, or train=False)."
        )
    return sum(parts[1:], parts[0])


def _real(answer: Tensor) -> Tensor:
    return torch.view_as_real(answer) if answer.is_complex() else answer


def _arguments(example: Any) -> tuple[tuple, dict]:
    if isinstance(example, Mapping):
        return (), dict(example)
    # a PackedSequence is a tuple too, but one argument
    return (example if type(example) is tuple else (example,)), {}


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled parts of the model as their original Python."""
    with torch.compiler.set_stance("force_eager"), in_python():
        yield


def _seconds(step: _Step, device: torch.device, run: Callable | None = None) -> float:
    step.prepare()
    return clock.seconds(run or step, devices=(device,))


def _timed(
    step: _Step, paths: ModulePaths, device: torch.device, operators: list[Operator]
) -> list[float]:
    """Time each operator of one pass, in seconds; it must repeat the counted calls."""
    timer = Timer(paths, device)
    step.prepare()
    with timer:
        step()
    timer.close()
    calls = zip_longest(((o.name, o.output_shape) for o in operators), timer.calls)
    for index, (counted, called) in enumerate(calls):
        if counted != called:
            raise UnsteadyModelError(_difference(step.model, index, counted, called))
    return timer.seconds


def _difference(
    model: nn.Module, index: int, counted: tuple | None, called: tuple | None
) -> str:
    one, two = (
        "no operator" if c is None else f"{c[0]} {in_words(c[1])}"
        for c in (counted, called)
    )
    return (
        f"two passes of {type(model).__name__} differ from the same start state: call "
        f"{index} was {one}, then {two}; the model depends on something that cannot be "
        f"restored, such as a file, the time, or state of a compiled extension."
    )


def _device(model: nn.Module, inputs: list[Tensor]) -> torch.device:
    candidates = [*model.parameters(), *model.buffers(), *inputs]
    return next(
        (t.device for t in candidates if t.device.type != "cpu"), torch.device("cpu")
    )


def _dtype(model: nn.Module, inputs: list[Tensor]) -> torch.dtype:
    """Return the floating-point dtype of most of the weights, or else of the inputs."""
    floating: list[Tensor] = [t for t in model.parameters() if t.dtype in MULTIPLIED]
    floating = floating or [t for t in inputs if t.dtype in MULTIPLIED]
    sizes: Multiset = Multiset()
    for tensor in floating:
        sizes[tensor.dtype] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.float32


def _operator_frame(
    operators: list[Operator], passes: list[list[float]]
) -> pd.DataFrame:
    """Return one row per call, with its median time and interquartile range."""
    columns = list(Operator.__dataclass_fields__)
    frame = pd.DataFrame([vars(o) for o in operators], columns=columns)
    frame = frame.rename(columns={"path": "layer", "name": "operator"})
    times = [_quartiles(call) for call in zip(*passes, strict=True)]
    times = times or [(float("nan"),) * 3] * len(operators)
    frame["output_shape"] = [in_words(o.output_shape) for o in operators]
    frame["latency_ms"] = [1e3 * median for _, median, _ in times]
    frame["iqr_ms"] = [1e3 * (high - low) for low, _, high in times]
    return frame


def _layer_frame(
    paths: ModulePaths, calls: dict[str, int], counter: Counter
) -> pd.DataFrame:
    """Return one row per module; a shared parameter counts for its first module."""
    owners: dict[int, str] = {}
    rows = {}
    for path, module in paths.modules.items():
        own = {id(p): p for p in module.parameters(recurse=False)}
        shared = sorted({owners[i] for i in own if i in owners})
        new = [p for i, p in own.items() if i not in owners]
        owners |= {i: path for i in own if i not in owners}
        packed = counter.costs.get(path)
        rows[path] = {
            "type": type(module).__name__,
            "calls": calls.get(path, 0),
            "output_shape": counter.output_shapes.get(path, ""),
            "parameters": sum(p.numel() for p in new)
            + ((packed and packed.parameters) or 0),
            "parameter_bytes": sum(p.nbytes for p in new)
            + ((packed and packed.parameter_bytes) or 0),
            "shared_with": ", ".join(p or "(model)" for p in shared),
        }
    return pd.DataFrame(rows).T.rename_axis("layer")


def _quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    values = list(values)
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
