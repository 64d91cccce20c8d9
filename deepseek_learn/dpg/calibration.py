r"""What a model does with real inputs, layer by layer: the facts that bits are given by.

For each linear layer or convolution y = W x:

- the inputs' second moment :math:`H = E[x x^\top]` `[K, K]`,
- the squared gradient of each output :math:`g_j^2 = E[\sum_p (\partial L/\partial
  y_{jp})^2]` `[N]`, summed over a sample's positions p, with labels *sampled* from the
  model's own answer (so that :math:`g^2` is the Fisher information, not the error),
- the activation frequency, as `DynamicParameterGroup` counts it.

A change δ of row j then raises the expected KL divergence by about
:math:`\tfrac12 g_j^2\, \delta H \delta^\top`. Lesson:
`notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalogue import text
from ..report import Report
from .matrix import input_rows, matching_layers, named_layers, output_rows
from .monitor import DynamicParameterGroup

ROWS_A_BATCH = 4096  # patches of one batch that enter H; all enter the gradient


@dataclass(frozen=True)
class Statistics:
    """What calibration saw of one layer.

    Attributes:
        second_moment: float32 `[K, K]`.
        gradient: float32 `[N]`, squared, a sample.
        frequency: float32 `[N]`, 0..1.
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
    logits: Callable[[nn.Module, Tensor], Tensor] | None = None,
    seed: int = 0,
) -> Calibration:
    """Run `batches` through the model, forward and backward; the model stays as it is.

    Layers that take no part in the answer (never called, because other code reads their
    weight, or of an unused head) are not in the result and later stay in float.

    Args:
        model: gives logits `[B, classes]`, or `[B, T, classes]` for a language model.
        batches: inputs, or tuples whose first part is the input. A few hundred samples
            of the kind that the model will see.
        logits: `logits(model, batch)`, where the model's answer is something else.
        seed: of the sampled labels and patches.

    Raises:
        ValueError: for an empty calibration set, a model with no supported layer, and
            activations or gradients that are not finite, naming the layer.
        TypeError: for a batch that holds no tensor.
    """
    layers = named_layers(model)
    sums = {name: _Sums() for name in layers}
    generator = torch.Generator().manual_seed(seed)
    answer = logits or (lambda model, batch: model(batch))
    samples = 0
    watch = DynamicParameterGroup(model)
    with _prepared(model, layers), _watched(layers, sums, generator), watch:
        for batch in batches:
            batch = input_of(batch)
            scores = answer(model, batch)
            scores = scores.reshape(-1, scores.shape[-1]).float()
            if not torch.isfinite(scores).all():
                raise ValueError(
                    f"the model's answer is not finite, after {samples} inputs that were "
                    f"fine: calibration needs finite inputs and weights."
                )
            probabilities = scores.detach().softmax(-1).cpu()
            labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
            torch.nn.functional.cross_entropy(
                scores, labels.to(scores.device), reduction="sum"
            ).backward()
            samples += len(batch)
    if samples == 0:
        raise ValueError("batches must hold at least one input; it was empty.")
    seen = {
        name: of_layer.finish(samples, watch.frequency(name))
        for name, of_layer in sums.items()
        if of_layer.took_part
    }
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


def input_of(batch) -> Tensor:
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(first, Tensor):
        raise TypeError(
            f"batches must hold tensors, or tuples that begin with one; got a "
            f"{type(first).__name__}."
        )
    return first


class _Sums:
    """Running sums of one layer, on the CPU."""

    def __init__(self):
        self.second_moment, self.gradient, self.sampled = 0.0, 0.0, 0

    def forward(self, layer: nn.Module, x: Tensor, generator) -> None:
        rows = input_rows(layer, x.detach()).float()
        if not torch.isfinite(rows).all():
            raise ValueError(self.problem("inputs"))
        if len(rows) > ROWS_A_BATCH:
            drawn = torch.randperm(len(rows), generator=generator)[:ROWS_A_BATCH]
            rows = rows[drawn.to(rows.device)]
        self.second_moment += (rows.T @ rows).cpu()
        self.sampled += len(rows)

    def backward(self, layer: nn.Module, gradient: Tensor) -> None:
        rows = output_rows(layer, gradient.detach()).double()
        self.gradient += rows.square().sum(0).cpu()

    def problem(self, what: str) -> str:
        return f"layer {self.name!r}: its {what} hold NaN or infinity."

    @property
    def took_part(self) -> bool:
        return isinstance(self.gradient, Tensor)

    def finish(self, samples: int, frequency: Tensor) -> Statistics:
        for what, total in (
            ("squared inputs", self.second_moment),
            ("squared gradients", self.gradient),
        ):
            if not torch.isfinite(total.float()).all():
                raise ValueError(self.problem(what))
        return Statistics(
            (self.second_moment / self.sampled),
            (self.gradient / samples).float(),
            frequency.float(),
        )


@contextmanager
def _watched(layers: dict[str, nn.Module], sums: dict[str, "_Sums"], generator):
    def after(name, layer, inputs, output):
        sums[name].name = name
        sums[name].forward(layer, inputs[0], generator)
        # a tensor's own hook: it sees the gradient of this value even if a ReLU after
        # it works in place, which module hooks do not allow
        if output.requires_grad:  # not so where the model itself stops gradients
            output.register_hook(partial(sums[name].backward, layer))

    handles = [
        layer.register_forward_hook(partial(after, name))
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _prepared(model: nn.Module, layers: dict[str, nn.Module]):
    """Evaluation mode with gradients on; afterwards modes, flags, gradients as before."""
    modes = {module: module.training for module in model.modules()}
    before = {p: (p.requires_grad, p.grad) for p in model.parameters()}
    weights = {id(layer.weight) for layer in layers.values()}
    model.eval()
    for parameter in before:
        parameter.requires_grad_(id(parameter) in weights)
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
