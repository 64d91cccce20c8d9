r"""What a model does with real inputs, layer by layer: the facts that bits are given by.

For each linear layer or convolution y = W x:

- the inputs' second moment :math:`H = E[x x^\top]` `[K, K]`,
- the squared gradient of each output :math:`g_j^2 = E[\sum_p (\partial L/\partial
  y_{jp})^2]` `[N]`, summed over a sample's positions p, with labels *sampled* from the
  model's own answer (so that :math:`g^2` is the Fisher information, not the error),
- the activation frequency, as `DynamicParameterGroup` counts it.

A change δ of row j then raises the expected KL divergence by about
:math:`\tfrac12 g_j^2\, \delta H \delta^\top`. For an embedding, whose row j is an
output wherever token j stands, the same holds with H the diagonal of its columns'
squared gradients (of mean 1) and :math:`g_j^2 = E[\sum_{p: t_p = j} \text{mean}_k
(\partial L/\partial y_{pk})^2]`. Lesson:
`notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..catalogue import text
from ..report import Report
from .matrix import (
    Filter,
    input_rows,
    matching_layers,
    named_layers,
    output_rows,
    tied_layers,
)
from .monitor import DynamicParameterGroup

ROWS_A_BATCH = 4096  # patches of one batch that enter H; all enter the gradient


@dataclass(frozen=True)
class Statistics:
    """What calibration saw of one layer.

    Attributes:
        second_moment: float32 `[K, K]`, or its diagonal alone `[K]`.
        gradient: float32 `[N]`, squared, a sample.
        frequency: float32 `[N]`, 0..1; of an embedding, the share of each token.
    """

    second_moment: Tensor
    gradient: Tensor
    frequency: Tensor


@dataclass(frozen=True)
class Calibration(Report):
    """The statistics of every layer.

    Attributes:
        layers: name → `Statistics`.
        samples: inputs seen.
    """

    layers: dict[str, Statistics]
    samples: int

    def to_frame(self) -> pd.DataFrame:
        """One row a layer: sizes, mean frequency, gradient, correlation of the two."""
        rows = {}
        for name, seen in self.layers.items():
            ranks = pd.DataFrame({"f": seen.frequency, "g": seen.gradient}).rank()
            rows[name] = {
                "outputs": len(seen.gradient),
                "inputs": len(seen.second_moment),
                "mean_frequency": seen.frequency.mean().item(),
                "gradient": seen.gradient.sum().item(),
                "rank_correlation": ranks["f"].corr(ranks["g"]),
            }
        return pd.DataFrame(rows).T.rename_axis("layer")

    def plot(self):
        """Frequency against squared gradient, a dot a neuron (plotly)."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, seen in self.layers.items():
            figure.add_scatter(
                x=seen.frequency.numpy(),
                y=seen.gradient.numpy().clip(1e-12),
                mode="markers",
                marker={"size": 4, "opacity": 0.6},
                name=name,
            )
        figure.update_yaxes(type="log", title=text("dpg.gradient_axis"))
        figure.update_xaxes(title=text("dpg.frequency_axis"))
        return figure.update_layout(template="plotly_white")

    def why(self) -> str:
        correlations = self.to_frame()["rank_correlation"].dropna()
        low, high = correlations.min(), correlations.max()
        return text(
            "dpg.calibration",
            layers=len(self.layers),
            samples=self.samples,
            low=f"{low:.2f}",
            high=f"{high:.2f}",
        )


def calibrate(
    model: nn.Module,
    batches: Iterable,
    logits: Callable[[nn.Module, Any], Tensor] | None = None,
    seed: int = 0,
    correlations: bool = True,
    filter: Filter | None = None,
) -> Calibration:
    """Run `batches` through the model, forward and backward; the model stays as it is.

    Layers that take no part in the answer (never called, because other code reads their
    weight, or of an unused head) are not in the result and later stay in float.

    Args:
        model: gives logits `[B, classes]`, or `[B, T, classes]` for a language model, or
            an object with such `logits`.
        batches: inputs, tuples whose first part is the input, or mappings of arguments
            by name (Hugging Face's `input_ids`, `attention_mask`, ...; positions that
            the mask leaves out count nowhere). A few hundred samples of the kind that
            the model will see.
        logits: `logits(model, batch)`, where the model's answer is something else.
        seed: of the sampled labels and patches.
        correlations: False: only the diagonal of each second moment, which takes less
            time; weights are then rounded to nearest, not by GPTQ. The model's own
            products are then computed in bfloat16 where the processor does these faster.
        filter: `filter(name, layer)` says which layers to calibrate.

    Raises:
        ValueError: for an empty calibration set, a model with no supported layer, and
            activations or gradients that are not finite, naming the layer.
        TypeError: for a batch that holds no tensor, and one tensor or mapping in place
            of a list of batches.
    """
    check_batches(batches)
    layers = named_layers(model, filter)
    uses = {name: [name] for name in layers}  # of each matrix
    for name, first in tied_layers(model).items():
        uses.get(first, []).append(name)
    names = [name for users in uses.values() for name in users]
    state = _State(torch.Generator().manual_seed(seed), correlations)
    sums = {name: _sums(name, model.get_submodule(name), state) for name in names}
    watch = DynamicParameterGroup(model, filter=filter)
    samples = 0
    products = nullcontext() if correlations else _quick_products()
    with _prepared(model), products, _watched(sums), watch:
        for batch in batches:
            batch = input_of(batch)
            scores, count = _scores(model, batch, logits, state)
            if not torch.isfinite(scores.sum()) and not torch.isfinite(scores).all():
                raise ValueError(
                    f"the model's answer is not finite, after {samples} inputs that were "
                    f"fine: calibration needs finite inputs and weights."
                )
            labels = drawn_labels(scores.detach(), state.generator)
            if scores.requires_grad:  # some layer took part
                F.cross_entropy(scores, labels, reduction="sum").backward()
            samples += count
    if samples == 0:
        raise ValueError("batches must hold at least one input; it was empty.")
    seen = {}
    for name, users in uses.items():
        found = [sums[user].finish(samples) for user in users if sums[user].took_part]
        if found:
            frequency = sums[name].frequency(watch)
            seen[name] = Statistics(*_merged(found), frequency.float())
    if not seen:
        raise ValueError(
            "no layer took part in the model's answer to any batch: there is nothing "
            "to compress."
        )
    return Calibration(seen, samples)


def check_calibration(calibration: Calibration, model: nn.Module) -> dict:
    """The model's calibrated layers; statistics of another model are refused."""
    sizes = {
        name: (len(seen.gradient), len(seen.second_moment))
        for name, seen in calibration.layers.items()
    }
    return matching_layers(model, sizes, "calibration is")


def check_batches(batches: Iterable) -> None:
    """Refuse one batch in place of several: it would be taken apart along its rows."""
    if isinstance(batches, Tensor | Mapping):
        kind = type(batches).__name__
        raise TypeError(
            f"batches must be a list of batches, or a loader; got one {kind}: "
            f"write [batch]."
        )


def input_of(batch) -> Tensor | Mapping:
    """The input of a batch: what the model is called with."""
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    held = list(first.values()) if isinstance(first, Mapping) else [first]
    if not any(isinstance(each, Tensor) for each in held):
        raise TypeError(
            f"batches must hold tensors, or tuples that begin with one, or mappings "
            f"of arguments; got a {type(first).__name__}."
        )
    return first


def _scores(model, batch, logits, state: "_State") -> tuple[Tensor, int]:
    """Logits `[positions, classes]` in float32, and how many samples they are of."""
    named = isinstance(batch, Mapping)
    first = next(x for x in batch.values() if isinstance(x, Tensor)) if named else batch
    mask = batch.get("attention_mask") if named else None
    state.mask = None if mask is None else mask.bool()
    if logits is not None:
        answer = logits(model, batch)
    else:
        answer = model(**batch) if named else model(batch)
        answer = getattr(answer, "logits", answer)
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"model must answer with logits, a tensor; got a {type(answer).__name__}. "
            f"Say how to come by them with logits=."
        )
    if state.mask is not None and state.mask.shape == answer.shape[:-1]:
        answer = answer[state.mask]
    return answer.reshape(-1, answer.shape[-1]).float(), len(first)


def drawn_labels(scores: Tensor, generator: torch.Generator) -> Tensor:
    """A label for each row of logits, drawn from the model's own answer, int64 `[M]`."""
    reached = scores.softmax(-1).cumsum_(-1)  # [M, classes]
    place = torch.rand(len(scores), 1, generator=generator).to(scores.device)
    labels = torch.searchsorted(reached, place * reached[:, -1:], right=True)
    return labels[:, 0].clamp(max=scores.shape[-1] - 1)


@dataclass
class _State:
    """What all layers' sums share."""

    generator: torch.Generator
    correlations: bool
    mask: Tensor | None = None  # bool, positions of the batch that count

    def select(self, x: Tensor, axes: int = 1) -> Tensor:
        """The positions of `[*positions, ...]` that count, if there is a mask of them."""
        mask = self.mask
        if mask is None or mask.shape != x.shape[: x.dim() - axes]:
            return x
        return x[mask.to(x.device)]


class _Sums:
    """Running sums of one layer, on the CPU."""

    def __init__(self, name: str, layer: nn.Module, state: _State):
        self.name, self.layer, self.state = name, layer, state
        self.second_moment, self.gradient, self.sampled = 0.0, 0.0, 0

    def problem(self, what: str) -> str:
        return f"layer {self.name!r}: its {what} hold NaN or infinity."

    @property
    def took_part(self) -> bool:
        return isinstance(self.gradient, Tensor)

    def checked(self, second_moment: Tensor, gradient: Tensor) -> tuple:
        """Both in float32, or the sentence that says which is not finite."""
        facts = {"squared inputs": second_moment, "squared gradients": gradient}
        for what, total in facts.items():
            if not torch.isfinite(total.float()).all():
                raise ValueError(self.problem(what))
        return second_moment.float(), gradient.float()


class _Product(_Sums):
    """A linear layer or a convolution."""

    def forward(self, x: Tensor) -> None:
        if isinstance(self.layer, nn.Linear):
            x = self.state.select(x)
        rows = input_rows(self.layer, x.detach()).float()
        # the sum is quick to look at; it overflows at worst
        if not torch.isfinite(rows.sum()) and not torch.isfinite(rows).all():
            raise ValueError(self.problem("inputs"))
        if len(rows) > ROWS_A_BATCH:
            drawn = torch.randperm(len(rows), generator=self.state.generator)
            rows = rows[drawn[:ROWS_A_BATCH].to(rows.device)]
        if self.state.correlations:
            self.second_moment += (rows.T @ rows).cpu()
        else:
            self.second_moment += rows.square().sum(0).cpu()
        self.sampled += len(rows)

    def backward(self, gradient: Tensor) -> None:
        rows = output_rows(self.layer, gradient.detach()).float()
        self.gradient += rows.square().sum(0, dtype=torch.float64).cpu()

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        return self.checked(self.second_moment / self.sampled, self.gradient / samples)

    def frequency(self, watch: DynamicParameterGroup) -> Tensor:
        return watch.frequency(self.name)


class _Lookup(_Sums):
    """An embedding.

    A token that calibration never saw will be seen one day: each counts once more than
    it occurred, with the mean gradient of all (Laplace's rule of succession).
    """

    def forward(self, x: Tensor) -> None:
        self.tokens = self.state.select(x, axes=0).flatten().cpu()
        self.counts = getattr(self, "counts", 0) + torch.bincount(
            self.tokens, minlength=self.layer.num_embeddings
        )

    def backward(self, gradient: Tensor) -> None:
        rows = self.state.select(gradient.detach()).float().cpu()
        squares = rows.reshape(len(self.tokens), -1).square()  # [M, K]
        self.second_moment += squares.sum(0, dtype=torch.float64)
        total = torch.zeros(self.layer.num_embeddings, dtype=torch.float64)
        self.gradient += total.index_add_(0, self.tokens, squares.double().mean(1))

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        seen, rows = self.counts.sum(), len(self.counts)
        mean = self.gradient.sum() / seen
        gradient = (self.gradient + mean) * seen / (seen + rows) / samples
        relative = self.second_moment / self.second_moment.mean().clamp(min=1e-30)
        return self.checked(relative, gradient)

    def frequency(self, watch: DynamicParameterGroup) -> Tensor:
        return self.counts / self.counts.sum()


def _sums(name: str, layer: nn.Module, state: _State) -> _Sums:
    kind = _Lookup if isinstance(layer, nn.Embedding) else _Product
    return kind(name, layer, state)


def _merged(uses: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Second moment and gradient of a matrix that several layers use.

    Each row's damage is the sum of those of its uses; the direction that counts is taken
    to be the same for all rows, a mean of the uses' moments by what each has at stake.
    """
    if len(uses) == 1:
        return uses[0]
    sizes = [_mean_square(moment) for moment, _ in uses]
    stakes = [gradient * size for (_, gradient), size in zip(uses, sizes, strict=True)]
    whole = sum(stake.sum() for stake in stakes)
    full = any(moment.dim() == 2 for moment, _ in uses)
    moment = 0.0
    for (own, _), size, stake in zip(uses, sizes, stakes, strict=True):
        own = torch.diag(own) if full and own.dim() == 1 else own
        moment = moment + own * (stake.sum() / whole * sizes[0] / size)
    return moment, sum(stakes) / sizes[0]


def _mean_square(moment: Tensor) -> Tensor:
    diagonal = moment.diagonal() if moment.dim() == 2 else moment
    return diagonal.mean().clamp(min=1e-30)


@contextmanager
def _watched(sums: dict[str, _Sums]):
    def after(of_layer: _Sums, layer, inputs, output):
        of_layer.forward(inputs[0])
        if not torch.is_grad_enabled():  # the model itself stops gradients
            return None
        if not output.requires_grad:  # no weight does: here the graph begins
            output = output.detach().requires_grad_().clone()
        # a tensor's own hook: it sees the gradient of this value even if a ReLU after
        # it works in place, which module hooks do not allow
        output.register_hook(of_layer.backward)
        return output

    handles = [
        of_layer.layer.register_forward_hook(partial(after, of_layer))
        for of_layer in sums.values()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _quick_products():
    """PyTorch's "medium" precision, for all threads of the process while it lasts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _prepared(model: nn.Module):
    """Evaluation mode, gradients of activations only; afterwards all as it was.

    The gradients of weights would take as long as the forward pass, for nothing.
    """
    modes = {module: module.training for module in model.modules()}
    before = {p: (p.requires_grad, p.grad) for p in model.parameters()}
    model.eval()
    for parameter in before:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter, (flag, gradient) in before.items():
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for module, mode in modes.items():
            module.training = mode
