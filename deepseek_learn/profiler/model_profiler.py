"""Profile a model in several passes that all start from the same state.

One pass counts the operators, and another measures memory. The remaining passes
alternate between timing each operator and timing the model as a whole. The original
state is restored at the end.
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
# dtypes whose roof is measured; all other dtypes use the float32 roof
MULTIPLIED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHOW_BAR_S = 2.0  # show a progress bar if a profile takes longer than this


def profile(
    model: nn.Module,
    example: Any = None,
    train: bool = False,
    *,
    input_size: Sequence[Any] | None = None,
    loss: Loss | None = None,
    repeats: int = 5,
    progress: bool | None = None,
) -> Profile:
    """Profile one forward pass or one training step of a model.

    Every pass starts from the same state. The model, its arguments (including caches)
    and the random number generators are restored at the end. Anything that a call saves
    for later calls, such as a lazily built table, is therefore rebuilt in every pass.
    To profile a later call instead, call the model once beforehand.

    Args:
        model: the model to profile.
        example: a tensor, a tuple of positional arguments, or a dict of keyword
            arguments.
        train: if True, profile a forward pass in training mode followed by a backward
            pass. If False, profile a forward pass in evaluation mode without gradients.
        input_size: the shape of the input, such as (1, 3, 224, 224), or a sequence of
            shapes for several inputs. It replaces `example` with random values in the
            dtype of the model.
        loss: a function that maps the output to the scalar on which `backward` is
            called. By default, this is the sum of all output tensors that require
            gradients.
        repeats: the number of passes in which every operator is timed. Each of them is
            paired with an uninstrumented pass.
        progress: whether to show a progress bar. By default, one is shown if profiling
            takes more than two seconds.

    Raises:
        TypeError: if `model` is not an `nn.Module`.
        ValueError: if `repeats` is less than 1, if `train` is True but no output
            requires gradients, or if `example` and `input_size` are both given or both
            missing.
        UnsteadyModelError: if the passes differ although they start from the same
            state, or if a pass changes something that cannot be restored.
        Exception: any exception raised by the model is propagated unchanged.

    >>> import torch
    >>> from deepseek_learn import profiler
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU())
    >>> profile = profiler.profile(net, torch.rand(8, 64), progress=False)
    >>> profile.flops
    32768
    """
    profiler = ModelProfiler(
        model, train=train, loss=loss, repeats=repeats, progress=progress
    )
    if (example is None) == (input_size is None):
        raise ValueError("exactly one of example and input_size must be given.")
    if input_size is not None:
        example = random_inputs(model, input_size)
    args, kwargs = _arguments(example)
    return profiler(*args, **kwargs)


class ModelProfiler:
    """A profiler for one model, called with the same arguments as the model.

    The options are the same as for `profile`.

    >>> import torch
    >>> from deepseek_learn import ModelProfiler
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU())
    >>> profile = ModelProfiler(net)(torch.rand(8, 64))
    >>> profile.flops
    32768
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
            raise ValueError(f"repeats must be a positive integer; got {repeats!r}.")
        self.model, self.train, self.loss = model, train, loss
        self.repeats, self.progress = repeats, progress

    def __call__(self, *args: Any, **kwargs: Any) -> Profile:
        notes = []
        model = self.model
        if hasattr(model, "_orig_mod"):  # the wrapper that torch.compile creates
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
        first = _seconds(step, device, step.first)  # errors in the model surface here
        dtype = _dtype(model, inputs)
        machine = torch.device("cpu") if device.type == "meta" else device
        measured_roof(machine, dtype, spent=0)  # takes readings only the first time
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
        if device.type == "meta":  # nothing is computed on the meta device
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
    """One forward pass or training step that always starts from the same state."""

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
        """Restore the starting state, including the random number generators."""
        self.start.again()

    def first(self) -> None:
        """Run the first pass, which also backs up the data that it overwrites."""
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
            "train=True requires an output that depends on parameters with "
            "requires_grad=True, but there is none; pass loss= or use train=False."
        )
    return sum(parts[1:], parts[0])


def _real(answer: Tensor) -> Tensor:
    return torch.view_as_real(answer) if answer.is_complex() else answer


def _arguments(example: Any) -> tuple[tuple, dict]:
    if isinstance(example, Mapping):
        return (), dict(example)
    # a PackedSequence is also a tuple, but a single argument
    return (example if type(example) is tuple else (example,)), {}


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run the compiled parts of the model as their original Python code."""
    with torch.compiler.set_stance("force_eager"), in_python():
        yield


def _seconds(step: _Step, device: torch.device, run: Callable | None = None) -> float:
    step.prepare()
    return clock.seconds(run or step, devices=(device,))


def _timed(
    step: _Step, paths: ModulePaths, device: torch.device, operators: list[Operator]
) -> list[float]:
    """Return the time of each operator in one pass, in seconds.

    Raises:
        UnsteadyModelError: if the calls differ from those in the counting pass.
    """
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
        f"two passes of {type(model).__name__} differ although they start from the "
        f"same state: call {index} was {one} in one pass and {two} in another; the "
        f"model depends on something that cannot be restored, such as a file, the "
        f"current time, or the internal state of a compiled extension."
    )


def _device(model: nn.Module, inputs: list[Tensor]) -> torch.device:
    candidates = [*model.parameters(), *model.buffers(), *inputs]
    return next(
        (t.device for t in candidates if t.device.type != "cpu"), torch.device("cpu")
    )


def _dtype(model: nn.Module, inputs: list[Tensor]) -> torch.dtype:
    """Return the most common floating-point dtype of the weights.

    If there are no such weights, the inputs are used instead.
    """
    floating: list[Tensor] = [t for t in model.parameters() if t.dtype in MULTIPLIED]
    floating = floating or [t for t in inputs if t.dtype in MULTIPLIED]
    sizes: Multiset = Multiset()
    for tensor in floating:
        sizes[tensor.dtype] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.float32


def _operator_frame(
    operators: list[Operator], passes: list[list[float]]
) -> pd.DataFrame:
    """Return one row per operator call with its median time and interquartile range."""
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
    """Return one row per module.

    A shared parameter is counted only for the first module that contains it.
    """
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
