"""Recurrent layers written as linear layers, which can be packed like all others.

`nn.LSTM`, `nn.GRU` and `nn.RNN` hold their matrices as parameters of one module and compute
all steps in one call. A `Recurrent` computes the same with a linear layer per matrix.
"""

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .matrix import uncompiled

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
                self.add_module(f"{part}_{end}", _linear(weight, bias))
        self.train(layer.training)

    def flatten_parameters(self) -> None:
        """Do nothing: models call this method of a float layer before running it."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Return the output of the last layer at each step, and the last states."""
        # 1. Put time first: step t is a row of [T, B, K]. In a PackedSequence the steps
        # lie one after another, and later ones have at most as many sequences.
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            x, sizes = packed.data, packed.batch_sizes.tolist()
            states = self._first_states(hx, x, sizes[0], packed.sorted_indices)
        else:
            self._check(input)
            x, sizes = input[:, None] if input.dim() == 2 else input, None
            x = x.transpose(0, 1) if self.batch_first and input.dim() == 3 else x
            states = self._first_states(hx, x, x.shape[1])
        # 2. Run layer after layer. Both directions read the same inputs.
        last: list[States] = []
        ways = 2 if self.bidirectional else 1
        for depth in range(self.num_layers):
            outputs = []
            for end in self.ends[depth * ways : (depth + 1) * ways]:
                first = tuple(state[len(last)] for state in states)
                output, final = self._run(end, x, sizes, first)
                outputs.append(output)
                last.append(final)
            x = torch.cat(outputs, -1)  # [..., ways H]
            if self.dropout and depth < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        # 3. Return the layout of the input.
        finals = [torch.stack(each) for each in zip(*last, strict=True)]
        if packed is not None:
            if packed.unsorted_indices is not None:
                finals = [final[:, packed.unsorted_indices] for final in finals]
            return packed._replace(data=x), self._as_given(finals)
        if input.dim() == 2:
            return x[:, 0], self._as_given([final[:, 0] for final in finals])
        y = x.transpose(0, 1) if self.batch_first else x
        return y, self._as_given(finals)

    def _run(
        self, end: str, x: Tensor, sizes: list[int] | None, states: States
    ) -> tuple[Tensor, States]:
        """Run one direction of one layer, and return its outputs and last states."""
        inputs = getattr(self, f"ih_{end}")(x)  # [T, B, gates H]
        steps = inputs.unbind() if sizes is None else inputs.split(sizes)
        step, backward = self._step(end), end.endswith("_reverse")
        outputs = []
        for a in reversed(steps) if backward else steps:
            if sizes is None:
                states = step(a, states)
            else:  # the sequences that have ended keep their states
                new = step(a, tuple(state[: len(a)] for state in states))
                both = zip(new, states, strict=True)
                states = tuple(torch.cat([n, state[len(a) :]]) for n, state in both)
            outputs.append(states[0][: len(a)] if sizes else states[0])
        join = torch.stack if sizes is None else torch.cat
        return join(outputs[::-1] if backward else outputs), states

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
        states = hx if self.mode == "LSTM" else (hx,)
        if states[0].dim() == 2:  # of a single sequence
            states = [state[:, None] for state in states]
        for state, width in zip(states, widths, strict=True):
            if state.shape != (len(self.ends), batch, width):
                raise ValueError(
                    f"hx must be of shape {[len(self.ends), batch, width]}; got "
                    f"{list(state.shape)}."
                )
        if order is not None:
            states = [state[:, order] for state in states]
        return tuple(states)

    def _as_given(self, states: list[Tensor]) -> Any:
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _check(self, x: Tensor) -> None:
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            layout = "[B, T" if self.batch_first else "[T, B"
            raise ValueError(
                f"input must be {layout}, {self.input_size}] or [T, {self.input_size}]; "
                f"got shape {list(x.shape)}."
            )

    def extra_repr(self) -> str:
        return f"{self.mode}, {self.input_size}, {self.hidden_size}"


def stepwise(model: nn.Module, names: Iterable[str] | None = None) -> nn.Module:
    """Return a copy of a model whose recurrent layers are written as linear layers.

    `compress` does so itself. Call it before `calibrate`, `allocate` and `convert` where
    an `nn.LSTM`, `nn.GRU` or `nn.RNN` is to be packed. The copy shares all weights. A
    model without such layers is returned as it is.

    Args:
        names: the modules to replace; None for all.

    Raises:
        ValueError: if one of the modules is not a recurrent layer, or computes its
            weights itself.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = dpg.stepwise(nn.LSTM(32, 8))
    >>> dict(dpg.uniform(net, bits=4).columns)
    {'ih_l0': 32, 'hh_l0': 8}
    """
    model = uncompiled(model)
    modules = dict(model.named_modules())
    if names is None:
        names = [name for name, module in modules.items() if is_recurrent(module)]
    new: dict[int, Any] = {}
    for name in names:
        module = modules.get(name)
        if module is None or not is_recurrent(module):
            raise ValueError(
                f"names must be those of LSTM, GRU or RNN layers; {name!r} is "
                f"{'missing' if module is None else f'a {type(module).__name__}'}."
            )
        new[id(module)] = Recurrent(module)
    if not new:
        return model
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared | new)


def stepwise_names(model: nn.Module) -> list[str]:
    """Return the names of the layers of a model that `stepwise` has replaced."""
    return [n for n, module in model.named_modules() if isinstance(module, Recurrent)]


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


def _linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    rows, columns = weight.shape
    layer = nn.Linear(columns, rows, bias is not None, device="meta")
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer


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
