"""Profile a model: count once, time several times in turn with plain passes, once for
the allocator. The model, its gradients, buffers, mode and hooks are left as they were.
"""

import dataclasses
import statistics
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..bar import Bar
from ..catalogue import text
from .costs import Cost, tensors
from .memory import live, peak_bytes
from .module_paths import ModulePaths
from .recorder import Counter, Operator, Timer
from .restoring import as_it_was, on
from .result import Profile
from .roof import measure
from .weights import distribution

Loss = Callable[[Any], Tensor]
# dtypes whose roof can be measured; for others float32's is taken
MULTIPLIED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHOW_BAR_S = 2.0  # a profile that takes longer shows a progress bar


def profile(
    model: nn.Module,
    example: Any,
    train: bool = False,
    *,
    loss: Loss | None = None,
    repeats: int = 5,
    progress: bool | None = None,
) -> Profile:
    """What one forward pass of `model` on `example`, or one training step, costs.

    Args:
        example: one tensor; a tuple: several arguments; a dict: named arguments.
        train: forward in training mode and backward; else forward in evaluation mode,
            without gradients.
        loss: the answer → a scalar to differentiate; by default the sum of all
            floating-point tensors of the answer.
        repeats: timed passes; each in turn with a plain one.
        progress: whether to show a bar; None: when it takes more than two seconds.

    Raises:
        TypeError: for a model that is no module.
        ValueError: for `repeats` below 1, or nothing to differentiate.
        Exception: what the model raises is passed on as it is.
    """
    args, kwargs = _arguments(example)
    return ModelProfiler(
        model, train=train, loss=loss, repeats=repeats, progress=progress
    )(*args, **kwargs)


class ModelProfiler:
    """`ModelProfiler(model)(example)`: the arguments of the call are the model's own.

    The options are those of `profile`.

    >>> ModelProfiler(resnet)(pictures).why()                       # doctest: +SKIP
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
        if hasattr(model, "_orig_mod"):  # torch.compile hides the modules
            model = model._orig_mod
            notes.append(text("profiler.note_compiled"))
        if any(isinstance(m, torch.jit.ScriptModule) for m in model.modules()):
            notes.append(text("profiler.note_scripted"))
        given = tensors((args, kwargs))
        device = _device(model, given)
        kept = as_it_was(model, given, device, self.train)
        with kept as start, _uncompiled(), on(device):
            step = _Step(model, args, kwargs, self.train, self.loss, start)
            return self._profile(model, step, given, device, notes)

    def _profile(self, model, step, given, device, notes) -> Profile:
        first = _seconds(step, device)  # warms up, and raises what the model raises
        dtype = _dtype(model, given)
        measure(device, dtype, spent=0)  # where nothing is known yet
        begun = time.perf_counter()
        paths = ModulePaths(model)
        total = 2 + 2 * self.repeats
        show = first * total > SHOW_BAR_S if self.progress is None else self.progress
        with Bar(total, show, text("profiler.bar")) as bar:
            counter = Counter(paths, [*model.parameters(), *model.buffers(), *given])
            step.prepare()
            with counter:
                step()
            operators, allocations = counter.operators, list(counter.allocations)
            counter.close()
            calls = dict(paths.calls)
            bar.advance(1)
            step.prepare()
            peak = peak_bytes(step, device)
            bar.advance(1)
            plain, timed = [], []
            for _ in range(self.repeats):
                plain.append(_seconds(step, device))
                bar.advance(1)
                timed.append(_timed(step, paths, device))
                bar.advance(1)
        names = [operator.name for operator in operators]
        agreeing = [t.seconds for t in timed if t.names == names]
        if len(agreeing) < len(timed):
            notes.append(text("profiler.note_varies", n=len(timed) - len(agreeing)))
        frame = _operator_frame(operators, agreeing)
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
            layers=_layer_frame(paths, calls, counter.costs),
            memory=live(operators, allocations, peak),
            roof=measure(device, dtype, spent=time.perf_counter() - begun),
            weights=distribution(model),
            notes=tuple(notes),
        )


class _Step:
    """One forward pass, or forward and backward, from the same start each time."""

    def __init__(self, model, args, kwargs, train: bool, loss: Loss | None, start):
        self.model, self.args, self.kwargs = model, args, kwargs
        self.train, self.loss, self.start = train, loss or _sum, start

    def prepare(self) -> None:
        """No gradients, the same random numbers, and inputs that no pass has changed."""
        self.start.again()

    def __call__(self) -> None:
        with torch.set_grad_enabled(self.train):
            answer = self.model(*self.args, **self.kwargs)
            if self.train:
                self.loss(answer).backward()


def _sum(answer: Any) -> Tensor:
    """All that can be differentiated, in one number."""
    parts = [leaf.sum() for leaf in _leaves(answer) if leaf.requires_grad]
    if not parts:
        raise ValueError(
            "train=True needs an answer that depends on parameters with "
            "requires_grad=True; got none (pass loss=, or train=False)."
        )
    return sum(parts[1:], parts[0])


def _leaves(answer: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    elif dataclasses.is_dataclass(answer):
        answer = list(vars(answer).values())
    for leaf in tree_leaves(answer):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Mapping) or dataclasses.is_dataclass(leaf):
            yield from _leaves(leaf)


def _arguments(example: Any) -> tuple[tuple, dict]:
    if isinstance(example, Mapping):
        return (), dict(example)
    # a PackedSequence is a tuple too, but one argument
    return (example if type(example) is tuple else (example,)), {}


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled parts of the model run as the Python they were made of."""
    with torch.compiler.set_stance("force_eager"):
        yield


def _seconds(step: _Step, device: torch.device) -> float:
    step.prepare()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _timed(step: _Step, paths: ModulePaths, device: torch.device) -> Timer:
    timer = Timer(paths, device)
    step.prepare()
    with timer:
        step()
    timer.close()
    return timer


def _device(model: nn.Module, given: list[Tensor]) -> torch.device:
    some = [*model.parameters(), *model.buffers(), *given]
    return next((t.device for t in some if t.device.type != "cpu"), torch.device("cpu"))


def _dtype(model: nn.Module, given: list[Tensor]) -> torch.dtype:
    """The floating type that most of the weights, or of the inputs, have."""
    some = [t for t in model.parameters() if t.dtype in MULTIPLIED]
    some = some or [t for t in given if t.dtype in MULTIPLIED]
    sizes: Multiset = Multiset()
    for tensor in some:
        sizes[tensor.dtype] += tensor.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.float32


def _operator_frame(operators: list[Operator], passes: list[list[float]]):
    """One row a call; times are medians and interquartile ranges over the passes."""
    columns = list(Operator.__dataclass_fields__)
    frame = pd.DataFrame([vars(o) for o in operators], columns=columns)
    frame = frame.rename(columns={"path": "layer", "name": "operator"})
    times = [_quartiles(seconds) for seconds in zip(*passes, strict=True)]
    times = times or [(float("nan"),) * 3] * len(operators)
    frame["latency_ms"] = [1e3 * median for _, median, _ in times]
    frame["iqr_ms"] = [1e3 * (high - low) for low, _, high in times]
    return frame


def _layer_frame(paths: ModulePaths, calls: dict[str, int], costs: dict[str, Cost]):
    """One row a module; a parameter that several share counts where it comes first."""
    seen: dict[int, str] = {}
    rows = {}
    for path, module in paths.modules.items():
        own = {id(p): p for p in module.parameters(recurse=False)}
        shared = sorted({seen[i] for i in own if i in seen})
        new = [p for i, p in own.items() if i not in seen]
        seen |= {i: path for i in own if i not in seen}
        packed = costs.get(path)
        rows[path] = {
            "type": type(module).__name__,
            "calls": calls.get(path, 0),
            "parameters": sum(p.numel() for p in new)
            + ((packed and packed.parameters) or 0),
            "parameter_bytes": sum(p.nbytes for p in new)
            + ((packed and packed.parameter_bytes) or 0),
            "shared_with": ", ".join(p or "(model)" for p in shared),
        }
    return pd.DataFrame(rows).T.rename_axis("layer")


def _quartiles(values) -> tuple[float, float, float]:
    values = list(values)
    if len(values) == 1:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))
