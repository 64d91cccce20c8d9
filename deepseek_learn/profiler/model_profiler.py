"""Profile a model in several passes that all start from the same state.

One pass counts the operators, and another measures memory. The remaining passes
alternate between timing each operator and timing the model as a whole. The original
state is restored at the end.
"""

import time
from collections import Counter as Multiset
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..bar import Bar
from ..catalog import text
from ..measure import clock
from ..measure.memory import peak_bytes
from ..measure.roof import measured_roof
from .control_flow import in_python
from .costs import tensors
from .frames import layer_frame, operator_frame, quartiles
from .inputs import random_inputs
from .memory import live
from .module_paths import ModulePaths
from .passes import Loss, ModelPass, operator_seconds, pass_seconds
from .recorder import Counter
from .restoring import as_it_was, materialized, on
from .result import Profile
from .weights import distribution

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
        # compiled parts run as their original Python code
        eager = torch.compiler.set_stance("force_eager")
        with eager, in_python(), on(device):
            model = materialized(model, args, kwargs)
            with as_it_was(model, self.train, args, kwargs, self.loss) as start:
                step = ModelPass(model, args, kwargs, self.train, self.loss, start)
                return self._profile(model, step, inputs, device, notes)

    def _profile(
        self,
        model: nn.Module,
        step: ModelPass,
        inputs: list[Tensor],
        device: torch.device,
        notes: list[str],
    ) -> Profile:
        # 1. The first pass backs up what it overwrites; errors in the model surface here.
        first = pass_seconds(step, device, step.first)
        dtype = _dtype(model, inputs)
        machine = torch.device("cpu") if device.type == "meta" else device
        measured_roof(machine, dtype, spent=0)  # takes readings only the first time
        start = time.perf_counter()
        paths = ModulePaths(model)
        total = 2 + 2 * self.repeats
        show = first * total > SHOW_BAR_S if self.progress is None else self.progress
        with Bar(total, show, text("profiler.bar")) as bar:
            # 2. Count in a pass of its own, since counting would slow a timed pass.
            counter = _count(step, paths)
            calls = dict(paths.calls)
            bar.advance(1)
            # 3. The allocator's peak, without the counter's own memory.
            step.prepare()
            peak = peak_bytes(step, device)
            bar.advance(1)
            # 4. Both kinds of timing in turn, so that a busy machine slows both alike.
            sides: dict[str, Callable[[], Any]] = {
                "plain": lambda: pass_seconds(step, device),
                "timed": lambda: operator_seconds(
                    step, paths, device, counter.operators
                ),
            }
            readings = clock.in_turn(sides, self.repeats, lambda: bar.advance(1))
        plain, timed = readings["plain"], readings["timed"]
        if device.type == "meta":  # nothing is computed on the meta device
            plain, timed = [float("nan")], []
        low, median, high = quartiles(plain)
        return Profile(
            model=type(model).__name__,
            train=self.train,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            latency_ms=1e3 * median,
            latency_low_ms=1e3 * low,
            latency_high_ms=1e3 * high,
            operators=operator_frame(counter.operators, timed),
            layers=layer_frame(paths, calls, counter),
            memory=live(counter.operators, counter.events, peak),
            roof=measured_roof(machine, dtype, spent=time.perf_counter() - start),
            weights=distribution(model),
            notes=tuple(notes),
        )


def _count(step: ModelPass, paths: ModulePaths) -> Counter:
    """Run one pass in which every operator and every allocation is recorded."""
    counter = Counter(paths, step.start.tensors)
    step.prepare()
    with counter:
        step()
    counter.close()
    return counter


def _arguments(example: Any) -> tuple[tuple, dict]:
    if isinstance(example, Mapping):
        return (), dict(example)
    # a PackedSequence is also a tuple, but a single argument
    return (example if type(example) is tuple else (example,)), {}


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
