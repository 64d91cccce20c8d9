"""Count how often neurons are active, and group them by frequency as in the guide.

A neuron is one output of a linear layer or a convolution. If the layer is followed by a
batch norm, the output of the norm is used instead. A neuron is active at a position (an
image, a pixel or a token) if its value there is above zero, and its activation
frequency is the fraction of positions at which it is active. The counts are exact
integers, so results for batches of any size can be added up.

Counting reads every output once more. If an `nn.Sequential` passes the output to a ReLU,
this is not necessary: the C++ kernel computes the ReLU and counts at the same time. This is
done only in `torch.inference_mode()`, on the CPU and in float32.

Lesson: `notebooks/basic/04_dynamic_parameter_groups.ipynb`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..catalog import text
from .activity import RELUS, active, before_relu, can_replace, layout
from .groups import Groups, by_rank, by_threshold
from .kernels import relu_and_count
from .matrix import CONVOLUTIONS, Filter, Layers, recomputing

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class DynamicParameterGroup:
    """Monitor a model while it runs, and group its neurons by activation frequency.

    Args:
        model: any module that contains linear layers or convolutions.
        activation_threshold: neurons with a higher frequency are core (0.7 in the
            guide).
        low_threshold: neurons with a lower frequency are low (0.3 in the guide).
        core_ratio: if given, neurons are grouped by rank instead of by threshold. In
            each layer, this fraction of the neurons (the most active ones) becomes
            core, and the same fraction (the least active ones) becomes low. The guide
            specifies a ratio of 0.3 as well as thresholds, but the two rules cannot be
            combined.
        every: monitor only one out of every `every` calls to the model. Counting costs
            a few percent of a forward pass (see claim C1 in the ledger). The counts
            remain exact for the calls that are monitored.
        filter: a function `filter(name, layer)` that selects the layers to monitor.

    Neurons are counted inside a `with` block, or between `attach()` and `detach()`:

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> with dpg.DynamicParameterGroup(net) as watch:
    ...     for _ in range(4):
    ...         y = net(torch.rand(16, 64))
    >>> list(watch.groups().group)
    ['0', '2']
    """

    def __init__(
        self,
        model: nn.Module | Layers,
        activation_threshold: float = 0.7,
        low_threshold: float = 0.3,
        core_ratio: float | None = None,
        every: int = 1,
        filter: Filter | None = None,
    ):
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be an integer of at least 1; got {every!r}.")
        if not 0 <= low_threshold <= activation_threshold <= 1:
            raise ValueError(
                f"thresholds must be 0 <= low_threshold <= activation_threshold <= 1; "
                f"got {low_threshold!r} and {activation_threshold!r}."
            )
        if core_ratio is not None and not 0 < core_ratio <= 0.5:
            raise ValueError(
                f"core_ratio must be above 0 and at most 0.5; got {core_ratio!r}."
            )
        layers = Layers.of(model, filter)
        self.model = layers.model
        self.layers = {
            name: layer
            for name, layer in layers.items()
            if not isinstance(layer, nn.Embedding)  # its rows are not neurons
        }
        self.thresholds = activation_threshold, low_threshold
        self.core_ratio, self.every = core_ratio, every
        self._normed: set[str] = set()  # layers that are followed by a norm
        self._before_relu: dict[nn.Module, tuple[nn.Module, nn.Module]] = {}
        self._handles: list = []
        self.reset()

    def reset(self) -> None:
        """Reset all counts to zero."""
        zero = torch.zeros((), dtype=torch.int64)
        self._active = dict.fromkeys(self.layers, zero)
        self._positions = dict.fromkeys(self.layers, 0)
        self._calls, self._watching = 0, True
        self._running: set[nn.Module] = set()  # of the containers in `_before_relu`
        # what a ReLU is to count, by the identity of the output
        self._pending: dict[int, tuple[nn.Module, str, Tensor, bool]] = {}
        self._computed: Tensor | None = None  # the output of the ReLU that runs

    def attach(self) -> "DynamicParameterGroup":
        """Start counting. If counting has already started, this has no effect."""
        if not self._handles:
            # the name and the counts of the layer, for each output that still exists
            self._outputs = WeakTensorKeyDictionary()
            if self.every > 1:
                handle = self.model.register_forward_pre_hook(self._before_call)
                self._handles.append(handle)
            for name, layer in self.layers.items():
                hook = partial(self._after_layer, name)
                self._handles.append(layer.register_forward_hook(hook))
            for module in self.model.modules():
                if isinstance(module, NORMS):
                    handle = module.register_forward_hook(self._after_norm)
                    self._handles.append(handle)
            self._before_relu = before_relu(self.model)
            for container, relu in {*self._before_relu.values()}:
                self._handles += (
                    container.register_forward_pre_hook(self._enter),
                    container.register_forward_hook(self._leave, always_call=True),
                    relu.register_forward_pre_hook(self._before_activation),
                    relu.register_forward_hook(self._after_activation),
                )
        return self

    def detach(self) -> None:
        """Stop counting without resetting the counts."""
        while self._handles:
            self._handles.pop().remove()
        for container in [*self._running]:  # if the model is running
            self._leave(container, (), None)

    def __enter__(self) -> "DynamicParameterGroup":
        return self.attach()

    def __exit__(self, *error: object) -> None:
        self.detach()

    @property
    def positions(self) -> dict[str, int]:
        """The number of positions at which the neurons of each layer were monitored."""
        return dict(self._positions)

    def frequency(self, layer: str) -> Tensor:
        """Compute the fraction of positions at which each neuron was active.

        Returns a float64 tensor of shape `[N]`.

        Raises:
            ValueError: if the layer is not monitored or has not run yet.
        """
        if layer not in self.layers:
            raise ValueError(
                f"layer must be one of {sorted(self.layers)}; got {layer!r}."
            )
        if not self._positions[layer]:
            raise ValueError(
                f"layer {layer!r} has not run while it was monitored: call the model "
                f"inside `with` first."
            )
        return self._active[layer].double().cpu() / self._positions[layer]

    def groups(self) -> Groups:
        """Group the neurons in all layers that have run, based on the counts so far.

        Raises:
            ValueError: if no layer has run yet.
        """
        names = [name for name in self.layers if self._positions[name]]
        if not names:
            raise ValueError(
                "no layer has run while it was monitored: call the model inside `with` "
                "first."
            )
        frequency = {name: self.frequency(name) for name in names}
        if self.core_ratio is None:
            high, low = self.thresholds
            rule = text("dpg.by_threshold", high=high, low=low)
            group = {n: by_threshold(f, high, low) for n, f in frequency.items()}
            return Groups(frequency, group, rule, self.thresholds)
        rule = text("dpg.by_rank", ratio=f"{self.core_ratio:.0%}")
        group = {n: by_rank(f, self.core_ratio) for n, f in frequency.items()}
        return Groups(frequency, group, rule, None)

    def _before_call(self, model: nn.Module, inputs: tuple) -> None:
        self._watching = self._calls % self.every == 0
        self._calls += 1

    def _after_layer(
        self, name: str, layer: nn.Module, inputs: tuple, output: Tensor
    ) -> None:
        if not self._watching or recomputing():
            return
        counts = None
        if name not in self._normed:
            counts = self._count(layer, name, output, isinstance(layer, CONVOLUTIONS))
        # If a norm follows, its output is counted instead (see `_after_norm`).
        self._outputs[output] = name, counts

    def _after_norm(self, norm: nn.Module, inputs: tuple, output: Tensor) -> None:
        if not self._watching or recomputing():
            return
        name, counts = self._outputs.get(inputs[0], (None, None))
        if name is None:
            return  # its input is not the output of a monitored layer
        if counts is not None:
            # the first time, the layer's own output was counted: take that back
            self._add(name, -counts[0], -counts[1])
            self._outputs[inputs[0]] = name, None
            self._normed.add(name)
        self._count(norm, name, output, output.dim() > 2)

    def _enter(self, container: nn.Module, inputs: tuple) -> None:
        self._running.add(container)

    def _leave(self, container: nn.Module, inputs: tuple, output: Any) -> None:
        self._running.discard(container)
        # count what did not reach its ReLU, such as after an error
        for key, (of, name, y, channels_first) in [*self._pending.items()]:
            if of is container:
                del self._pending[key]
                self._add(name, *active(y, channels_first))

    def _count(
        self, module: nn.Module, name: str, output: Tensor, channels_first: bool
    ) -> tuple[Tensor, int] | None:
        """Count the active neurons now, or return None and leave it to the ReLU."""
        container, relu = self._before_relu.get(module, (None, None))
        # outside its container, the output need not reach the ReLU: a child of an
        # `nn.Sequential` can be called on its own
        if container in self._running and can_replace(relu, output, channels_first):
            self._pending[id(output)] = container, name, output, channels_first
            return None
        counts = active(output, channels_first)
        self._add(name, *counts)
        return counts

    def _before_activation(self, relu: Any, inputs: tuple) -> tuple | None:
        """Compute the ReLU if it is to count; what is left to it is an empty tensor."""
        x = inputs[0] if inputs else None
        pending = self._pending.pop(id(x), None)
        if pending is None or x is None:
            return None
        _, name, _, channels_first = pending
        sizes = layout(x, channels_first)
        largest = RELUS[type(relu)]
        self._computed, counts = relu_and_count(x, sizes, largest, relu.inplace)
        self._add(name, counts, sizes[0] * sizes[2])
        return (x.new_empty(0),)

    def _after_activation(
        self, relu: nn.Module, inputs: tuple, output: Tensor
    ) -> Tensor | None:
        computed, self._computed = self._computed, None
        return computed  # None leaves the output as it is

    def _add(self, name: str, counts: Tensor, positions: int) -> None:
        self._active[name] = self._active[name] + counts  # a new tensor: 0 is shared
        self._positions[name] += positions
