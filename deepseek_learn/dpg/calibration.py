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

from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from .batches import check_batches, input_of, scores_of
from .matrix import Filter, matching_layers, named_layers, tied_layers
from .monitor import DynamicParameterGroup
from .statistics import Shared, Statistics, Sums, merged, sums_of


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
        correlations: False takes a fraction of the time: of each second moment only the
            diagonal, so that weights are rounded to nearest, not by GPTQ; every second
            batch is passed over; and the model's own products are computed in bfloat16
            where the processor does these faster.
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
    shared = Shared(torch.Generator().manual_seed(seed), correlations)
    sums = {name: sums_of(name, model.get_submodule(name), shared) for name in names}
    watch = DynamicParameterGroup(model, filter=filter)
    samples = 0
    products = nullcontext()
    if not correlations:
        products, batches = _quick_products(), islice(batches, 0, None, 2)
    with _prepared(model), products, _watched(sums), watch:
        for batch in batches:
            batch = input_of(batch)
            scores, count = scores_of(model, batch, logits, shared)
            if not torch.isfinite(scores.sum()) and not torch.isfinite(scores).all():
                raise ValueError(
                    f"the model's answer is not finite, after {samples} inputs that were "
                    f"fine: calibration needs finite inputs and weights."
                )
            if scores.requires_grad:  # some layer took part
                scores.backward(drawn_gradient(scores.detach(), shared.generator))
            samples += count
    if samples == 0:
        raise ValueError("batches must hold at least one input; it was empty.")
    seen = {}
    for name, users in uses.items():
        found = [sums[user].finish(samples) for user in users if sums[user].took_part]
        if found:
            frequency = sums[name].frequency(watch)
            seen[name] = Statistics(*merged(found), frequency.float())
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


def drawn_gradient(scores: Tensor, generator: torch.Generator) -> Tensor:
    """The gradient of -log p(label), with labels drawn from p: p - onehot, `[M, classes]`.

    No log-softmax and no backward pass of it are needed.
    """
    gradient = scores.softmax(-1)
    labels = drawn_labels(gradient, generator)
    gradient[torch.arange(len(labels), device=labels.device), labels] -= 1
    return gradient


def drawn_labels(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """A label for each row of probabilities `[M, classes]`, int64 `[M]`."""
    reached = probabilities.cumsum(-1)  # [M, classes]
    place = torch.rand(len(reached), 1, generator=generator).to(reached.device)
    labels = torch.searchsorted(reached, place * reached[:, -1:], right=True)
    return labels[:, 0].clamp(max=reached.shape[-1] - 1)


@contextmanager
def _watched(sums: dict[str, Sums]):
    def after(of_layer: Sums, layer, inputs, output):
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
