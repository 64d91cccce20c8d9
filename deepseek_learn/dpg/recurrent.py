"""Recurrent layers written as linear layers, which can be packed like all others.

`nn.LSTM`, `nn.GRU` and `nn.RNN` hold their matrices as parameters of one module and compute
all steps in one call. A `Recurrent` computes the same with a linear layer per matrix.
"""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .matrix import Filter, linear_of, uncompiled

KINDS = (nn.LSTM, nn.GRU, nn.RNN)
SETTINGS = (
    "mode",
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "proj_size",
)
States = tuple[Tensor, ...]  # h, or h and c for an LSTM
Step = Callable[[Tensor, States], States]


class Recurrent(nn.Module):
    r"""An `nn.LSTM`, `nn.GRU` or `nn.RNN` with one linear layer per matrix.

    The layers are named after the parameters: `ih_l0` multiplies the inputs of all steps
    at once, `hh_l0` the state of each step, and `hr_l0` is the projection of an LSTM with
    `proj_size`. With :math:`a_t = W_{ih} x_t + b_{ih}` and :math:`u_t = W_{hh} h_{t-1} +
    b_{hh}`, of shape `[B, 4 H]` for an LSTM and `[B, 3 H]` for a GRU, a step computes

    - LSTM: :math:`i, f, g, o = \mathrm{split}(a_t + u_t)`,
      :math:`c_t = \sigma(f) c_{t-1} + \sigma(i) \tanh(g)`,
      :math:`h_t = \sigma(o) \tanh(c_t)`;
    - GRU: :math:`r, z = \sigma(a^{rz}_t + u^{rz}_t)`,
      :math:`n = \tanh(a^n_t + r\, u^n_t)`, :math:`h_t = (1 - z)\, n + z\, h_{t-1}`;
    - RNN: :math:`h_t = \tanh(a_t + u_t)`, or ReLU.

    It takes and returns what the float layer does: a batch, a single sequence or a
    `PackedSequence`. It shares the parameters of `layer`.

    Args:
        layer: the float layer.

    Source: S. Hochreiter and J. Schmidhuber 1997, "Long short-term memory", Neural
    Computation 9; K. Cho et al. 2014, "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", EMNLP.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> gru = nn.GRU(16, 32, batch_first=True)
    >>> steps, x = dpg.Recurrent(gru), torch.rand(2, 5, 16)
    >>> torch.allclose(steps(x)[0], gru(x)[0], atol=1e-6)
    True
    """

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(self, layer: nn.RNNBase):
        super().__init__()
        for name in SETTINGS:
            setattr(self, name, getattr(layer, name))
        self.ends = [
            f"l{depth}{direction}"
            for depth in range(self.num_layers)
            for direction in (("", "_reverse") if self.bidirectional else ("",))
        ]
        for end in self.ends:
            for part in ("ih", "hh", "hr") if self.proj_size else ("ih", "hh"):
                weight = getattr(layer, f"weight_{part}_{end}")
                bias = getattr(layer, f"bias_{part}_{end}", None)
                self.add_module(f"{part}_{end}", linear_of(weight, bias))
        self.train(layer.training)

    def flatten_parameters(self) -> None:
        """Do nothing: models call this method of a float layer before running it."""

    def __getattr__(self, name: str) -> Any:
        """Return the weight or bias that a float layer has under this name."""
        kind, _, layer = name.partition("_")  # such as weight_hh_l0
        if kind in ("weight", "bias") and layer in self._modules:
            return getattr(self._modules[layer], kind)
        return super().__getattr__(name)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Return the output of the last layer at each step, and the last states.

        Args:
            input: `[T, B, K]`, `[B, T, K]` with `batch_first`, `[T, K]`, or a
                `PackedSequence`.
            hx: the first states h, or (h, c) of an LSTM, `[layers, B, H]` each, where
                the directions count as layers; zeros if None.

        Returns:
            The output in the layout of the input, with D H columns for D directions, and
            the last states in the layout of `hx`.

        Raises:
            ValueError: if a shape is different.
        """
        # 1. Find the axis of time. In a PackedSequence the steps lie one after another,
        # and later ones have at most as many sequences as earlier ones.
        packed = input if isinstance(input, PackedSequence) else None
        sizes = None if packed is None else packed.batch_sizes.tolist()
        time = int(self.batch_first and packed is None and input.dim() == 3)
        if packed is None:
            self._check(input, time)
        single = packed is None and input.dim() == 2
        x = input[:, None] if single else input if packed is None else packed.data
        batch = sizes[0] if sizes else x.shape[1 - time]
        order = None if packed is None else packed.sorted_indices
        states = self._first_states(hx, x, batch, order)
        # 2. Run layer after layer. Both directions read the same inputs.
        last: list[States] = []
        directions = 2 if self.bidirectional else 1
        for depth in range(self.num_layers):
            outputs = []
            for end in self.ends[depth * directions : (depth + 1) * directions]:
                first = tuple(state[len(last)] for state in states)
                output, final = self._run(end, x, time, sizes, first)
                outputs.append(output)
                last.append(final)
            x = torch.cat(outputs, -1)  # [..., D H]
            if self.dropout and depth < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        # 3. Return the layout of the input.
        finals = [torch.stack(each) for each in zip(*last, strict=True)]
        if packed is not None and packed.unsorted_indices is not None:
            finals = [final[:, packed.unsorted_indices] for final in finals]
        if single:
            x, finals = x[:, 0], [final[:, 0] for final in finals]
        y = x if packed is None else packed._replace(data=x)
        return y, tuple(finals) if self.mode == "LSTM" else finals[0]

    def _run(
        self, end: str, x: Tensor, time: int, sizes: list[int] | None, states: States
    ) -> tuple[Tensor, States]:
        """Run one direction of one layer, and return its outputs and last states."""
        # all inputs at once, as they were given, so that a mask of positions fits
        inputs = getattr(self, f"ih_{end}")(x)  # [T, B, gates H] or [B, T, gates H]
        steps = inputs.split(sizes) if sizes else inputs.unbind(time)
        step, backward = self._step(end), end.endswith("_reverse")
        outputs = []
        for a in reversed(steps) if backward else steps:
            if sizes:  # the sequences that have ended keep their states
                new = step(a, tuple(state[: len(a)] for state in states))
                both = zip(new, states, strict=True)
                states = tuple(torch.cat([n, state[len(a) :]]) for n, state in both)
                outputs.append(new[0])
            else:
                states = step(a, states)
                outputs.append(states[0])
        outputs = outputs[::-1] if backward else outputs
        return torch.cat(outputs) if sizes else torch.stack(outputs, time), states

    def _step(self, end: str) -> Step:
        recurrent = getattr(self, f"hh_{end}")
        if self.mode == "LSTM":
            project = getattr(self, f"hr_{end}") if self.proj_size else None
            return lambda a, states: _lstm(a + recurrent(states[0]), states[1], project)
        if self.mode == "GRU":
            return lambda a, states: (_gru(a, recurrent(states[0]), states[0]),)
        function = torch.tanh if self.mode == "RNN_TANH" else torch.relu
        return lambda a, states: (function(a + recurrent(states[0])),)

    def _first_states(
        self, hx: Any, x: Tensor, batch: int, order: Tensor | None = None
    ) -> States:
        """Return the states before the first step, `[layers, B, H]` each."""
        widths = [self.proj_size or self.hidden_size]
        widths += [self.hidden_size] if self.mode == "LSTM" else []
        if hx is None:
            shapes = [(len(self.ends), batch, width) for width in widths]
            return tuple(x.new_zeros(shape) for shape in shapes)
        states = list(hx) if self.mode == "LSTM" and isinstance(hx, tuple) else [hx]
        if len(states) != len(widths):
            raise ValueError(
                f"hx must be (h, c) for an LSTM; got {type(hx).__name__} of length "
                f"{len(hx)}."
            )
        if states[0].dim() == 2:  # of a single sequence
            states = [state[:, None] for state in states]
        for state, width in zip(states, widths, strict=True):
            if state.shape != (len(self.ends), batch, width):
                raise ValueError(
                    f"hx must be of shape {[len(self.ends), batch, width]}; got "
                    f"{list(state.shape)}."
                )
        return tuple(states if order is None else [state[:, order] for state in states])

    def _check(self, x: Tensor, time: int) -> None:
        if x.dim() in (2, 3) and x.shape[-1] == self.input_size and x.shape[time]:
            return
        layout = "[B, T" if self.batch_first else "[T, B"
        raise ValueError(
            f"input must be {layout}, {self.input_size}] or [T, {self.input_size}] with "
            f"at least one step; got shape {list(x.shape)}."
        )

    def extra_repr(self) -> str:
        return f"{self.mode}, {self.input_size}, {self.hidden_size}"


def stepwise(model: nn.Module, filter: Filter | None = None) -> nn.Module:
    """Return a copy of a model whose recurrent layers are written as linear layers.

    `compress` does so itself. Call it before `calibrate`, `allocate` and `convert` where
    an `nn.LSTM`, `nn.GRU` or `nn.RNN` is to be packed. The copy shares all weights. A
    model without such layers is returned as it is.

    Args:
        filter: a function `filter(name, layer)` that selects the linear layers to
            compress. A recurrent layer stays as it is if none of its own is selected.

    Raises:
        TypeError: if `model` is not a module.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = dpg.stepwise(nn.LSTM(32, 8))
    >>> dict(dpg.uniform(net, bits=4).columns)
    {'ih_l0': 32, 'hh_l0': 8}
    """
    model = uncompiled(model)
    new = {n: Recurrent(m) for n, m in model.named_modules() if is_recurrent(m)}
    if filter is not None:
        new = {
            name: module
            for name, module in new.items()
            if any(
                filter(f"{name}.{part}".lstrip("."), layer)
                for part, layer in module.named_children()
            )
        }
    return _with(model, new)


def settings_of(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the settings of the layers that `stepwise` has replaced, by name."""
    return {
        name: _settings(module)
        for name, module in model.named_modules()
        if isinstance(module, Recurrent)
    }


def with_settings(model: nn.Module, settings: Mapping[str, Mapping]) -> nn.Module:
    """Return a copy of a model with the replacements that `settings_of` describes.

    Raises:
        ValueError: if one of the layers is missing from the model or is another.
    """
    modules, new = dict(model.named_modules()), {}
    for name, expected in settings.items():
        module = modules.get(name)
        if module is None or not is_recurrent(module):
            kind = "missing" if module is None else f"a {type(module).__name__}"
            raise ValueError(f"its layer {name!r} is {kind}, not a recurrent layer.")
        if (found := _settings(module)) != expected:
            key = next(key for key in found if found[key] != expected.get(key))
            raise ValueError(
                f"its layer {name!r} has {key}={found[key]!r}, not "
                f"{expected.get(key)!r}."
            )
        new[name] = Recurrent(module)
    return _with(model, new)


def _with(model: nn.Module, new: Mapping[str, Recurrent]) -> nn.Module:
    """Return a copy that shares all tensors, with other modules in some places."""
    if not new:
        return model
    memo: dict[int, Any] = {id(model.get_submodule(n)): m for n, m in new.items()}
    memo |= {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def _settings(layer: "nn.RNNBase | Recurrent") -> dict[str, Any]:
    """Return what a layer computes besides its weights, in evaluation mode."""
    return {name: getattr(layer, name) for name in SETTINGS if name != "dropout"}


def is_recurrent(module: nn.Module) -> TypeGuard[nn.RNNBase]:
    """Whether a module can be written as linear layers.

    Subclasses may compute something else, and a weight that a hook computes on each
    call is no parameter.
    """
    if type(module) not in KINDS:
        return False
    assert isinstance(module, nn.RNNBase)
    names = itertools.chain(*module._all_weights)
    return all(name in module._parameters for name in names)


def _lstm(gates: Tensor, c: Tensor, project: Callable | None) -> States:
    i, f, g, o = gates.chunk(4, -1)  # [n, H] each
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if project is None else project(h)), c


def _gru(a: Tensor, u: Tensor, h: Tensor) -> Tensor:
    (a_r, a_z, a_n), (u_r, u_z, u_n) = a.chunk(3, -1), u.chunk(3, -1)  # [n, H] each
    r, z = (a_r + u_r).sigmoid(), (a_z + u_z).sigmoid()
    n = (a_n + r * u_n).tanh()  # the reset gate scales what comes after the product
    return (1 - z) * n + z * h
