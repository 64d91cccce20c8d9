r"""Collect the per-layer statistics used to allocate bits.

The statistics are computed on real inputs. For each linear layer or convolution
y = W x, they consist of:

- the second moment of the inputs, :math:`H = E[x x^\top]`, of shape `[K, K]`;
- the squared gradient of each output, :math:`g_j^2 = E[\sum_p (\partial L/\partial
  y_{jp})^2]`, of shape `[N]`, where the sum runs over the positions p of a sample. The
  labels are *sampled* from the model's own predictions, which makes :math:`g^2` the
  Fisher information rather than a measure of the model's error;
- the activation frequency of each output, as counted by `DynamicParameterGroup`.

Changing row j by δ increases the expected KL divergence by about :math:`\tfrac12
g_j^2\, \delta H \delta^\top`. The same formula applies to an embedding, where row j is
the output wherever token j occurs. In this case, H is a diagonal matrix that holds the
squared gradient of each column, normalized to a mean of 1, and :math:`g_j^2 =
E[\sum_{p: t_p = j} \text{mean}_k (\partial L/\partial y_{pk})^2]`.

Lesson: `notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from .batches import check_batches, input_of, scores_of
from .matrix import Filter, Layers, is_finite, recomputing
from .monitor import DynamicParameterGroup
from .statistics import SharedState, Statistics, Sums, merged, sums_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Calibration(Report):
    """The calibration statistics of all layers.

    Attributes:
        layers: maps each layer name to its `Statistics`.
        samples: the number of calibration inputs.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> calibration = dpg.calibrate(net, [torch.rand(16, 64) for _ in range(4)])
    >>> calibration.samples, list(calibration.layers)
    (64, ['0', '2'])
    """

    layers: dict[str, Statistics]
    samples: int

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per layer.

        The columns are the output and input sizes, the mean activation frequency, the
        total squared gradient, and the rank correlation between frequency and gradient.
        """
        rows = {}
        for name, statistics in self.layers.items():
            ranks = pd.DataFrame(
                {"f": statistics.frequency, "g": statistics.gradient}
            ).rank()
            rows[name] = {
                "outputs": len(statistics.gradient),
                "inputs": len(statistics.second_moment),
                "mean_frequency": statistics.frequency.mean().item(),
                "gradient": statistics.gradient.sum().item(),
                "rank_correlation": ranks["f"].corr(ranks["g"]),
            }
        return pd.DataFrame(rows).T.rename_axis("layer")

    def plot(self) -> "go.Figure":
        """Plot the squared gradient of each neuron against its frequency (plotly)."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, statistics in self.layers.items():
            figure.add_scatter(
                x=statistics.frequency.numpy(),
                y=statistics.gradient.numpy().clip(1e-12),
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
    model: nn.Module | Layers,
    batches: Iterable[Any],
    logits: Callable[[nn.Module, Any], Tensor] | None = None,
    seed: int = 0,
    correlations: bool = True,
    filter: Filter | None = None,
) -> Calibration:
    """Run a model forward and backward on `batches` and collect layer statistics.

    The model is left unchanged. Layers that do not contribute to the output are missing
    from the result and will stay in float. Examples are layers in an unused head, and
    layers that are never called because other code reads their weights directly.

    Args:
        model: a model that returns logits of shape `[B, classes]`, or `[B, T, classes]`
            for a language model. It may also return an object with a `logits`
            attribute.
        batches: an iterable of inputs, of tuples whose first element is the input, or
            of mappings of keyword arguments (such as Hugging Face's `input_ids` and
            `attention_mask`). Masked positions are ignored. A detector's batch is
            `(images, targets)` or `(images,)`, where `images` is a list of tensors. Use
            a few hundred samples that resemble the data the model will be used on. Do
            not shuffle related inputs, such as crops of one photograph: only if they
            are in the same half can it be noticed that there are too few
            (`Statistics.halves_agree`).
        logits: a function `logits(model, batch)` that returns the logits, for models
            that return something else, such as the scores of a detector's boxes.
        seed: the random seed for sampling labels and patches.
        correlations: whether to compute full second moments. If False, calibration
            takes a fraction of the time: only the diagonal of each second moment is
            computed, every other batch is skipped, and the model's matrix products run
            in bfloat16 on processors where that is faster. Weights are then rounded to
            nearest instead of with GPTQ.
        filter: a function `filter(name, layer)` that selects the layers to calibrate.

    Raises:
        ValueError: if `batches` is empty, if the model has no supported layer, or if
            activations or gradients are not finite. In the last case, the message names
            the layer.
        TypeError: if a batch contains no tensor, or if a single tensor or mapping is
            passed instead of a list of batches.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> calibration = dpg.calibrate(net, [torch.rand(16, 64) for _ in range(4)])
    >>> calibration.samples
    64
    """
    check_batches(batches)
    # 1. Create one set of sums for each use of a matrix, because an embedding and its
    # tied head receive different inputs.
    layers = Layers.of(model, filter)
    layers.refuse_meta()
    model = layers.model
    shared = SharedState(torch.Generator().manual_seed(seed), correlations)
    sums = {name: sums_of(name, layer, shared) for name, layer in layers.uses.items()}
    watch = DynamicParameterGroup(layers)
    samples = 0
    # 2. Without correlations, save time where it costs little accuracy.
    products: AbstractContextManager = nullcontext()
    if not correlations:
        products, batches = _medium_precision(), islice(batches, 0, None, 2)
    # 3. Run forward and backward. The hooks accumulate the inputs [..., K] and the
    # output gradients.
    with _evaluation(model), products, _hooks(sums), watch:
        for batch in batches:
            # `logits` calls the model itself, with what else it needs
            batch = input_of(batch, model if logits is None else None)
            shared.start_batch()
            scores, count = scores_of(model, batch, logits, shared)  # [M, classes]
            if not is_finite(scores):
                raise ValueError(
                    f"the model's output is not finite after {samples} valid inputs: "
                    f"calibration needs finite inputs and weights."
                )
            if scores.requires_grad:  # at least one layer contributed
                # Backpropagate the loss on labels sampled from the prediction itself.
                scores.backward(drawn_gradient(scores.detach(), shared.generator))
            samples += count
    if samples == 0:
        raise ValueError("batches must contain at least one input, but it was empty.")
    # 4. Average over the samples, and merge the uses of each matrix.
    statistics = _statistics(layers, sums, watch, samples)
    if not statistics:
        raise ValueError(
            "no layer contributed to the model's output for any batch: there is "
            "nothing to compress."
        )
    return Calibration(statistics, samples)


def _statistics(
    layers: Layers, sums: dict[str, Sums], watch: DynamicParameterGroup, samples: int
) -> dict[str, Statistics]:
    """Return the statistics for each matrix that contributed to an output."""
    statistics = {}
    for name in layers:
        used = [sums[user] for user in layers.users(name) if sums[user].took_part]
        if used:
            moment, gradient = merged([each.finish(samples) for each in used])
            frequency = sums[name].frequency(watch).float()
            agree = any(each.halves_agree for each in used)
            facts = frequency, _positions(used), agree
            statistics[name] = Statistics(moment, gradient, *facts)
    return statistics


def _positions(used: list[Sums]) -> int:
    """Count the inputs in a merged second moment, without those of an embedding.

    An embedding adds nothing to the correlations, so its inputs count only if there are
    no others.
    """
    products = [each for each in used if not isinstance(each.layer, nn.Embedding)]
    return sum(each.sampled for each in products or used)


def check_calibration(calibration: Calibration, model: nn.Module | Layers) -> Layers:
    """Return the layers of the model that were calibrated.

    Raises:
        ValueError: if the calibration is for a different model.
    """
    sizes = {
        name: (len(statistics.gradient), len(statistics.second_moment))
        for name, statistics in calibration.layers.items()
    }
    return Layers.of(model).matching(sizes, "calibration belongs")


def drawn_gradient(scores: Tensor, generator: torch.Generator) -> Tensor:
    """Sample labels from the predictions and return the gradient of the loss on them.

    For the loss -log p(label), the gradient with respect to the scores is
    p - onehot(label), a tensor of shape `[M, classes]`. This closed form requires
    neither a log-softmax nor its backward pass.
    """
    gradient = scores.softmax(-1)
    labels = drawn_labels(gradient, generator)
    gradient[torch.arange(len(labels), device=labels.device), labels] -= 1
    return gradient


def drawn_labels(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Sample a label for each row of `probabilities`.

    The probabilities have shape `[M, classes]`, and the labels are an int64 tensor of
    shape `[M]`.
    """
    cumulative = probabilities.cumsum(-1)  # [M, classes]
    draw = torch.rand(len(cumulative), 1, generator=generator).to(cumulative.device)
    labels = torch.searchsorted(cumulative, draw * cumulative[:, -1:], right=True)
    return labels[:, 0].clamp(max=cumulative.shape[-1] - 1)


@contextmanager
def _hooks(sums: dict[str, Sums]) -> Iterator[None]:
    def after(
        layer_sums: Sums, layer: nn.Module, inputs: tuple, output: Tensor
    ) -> Tensor | None:
        if not recomputing():
            layer_sums.forward(inputs[0])
        if not torch.is_grad_enabled():  # the model itself disables gradients
            return None
        if not output.requires_grad:  # no weight does, so the graph starts here
            output = output.detach().requires_grad_().clone()
        # A tensor hook sees the gradient of this value even if the next ReLU is
        # in-place; module backward hooks do not support that.
        output.register_hook(layer_sums.backward(inputs[0]))
        return output

    handles = [
        layer_sums.layer.register_forward_hook(partial(after, layer_sums))
        for layer_sums in sums.values()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _medium_precision() -> Iterator[None]:
    """Set the float32 matmul precision to "medium" for all threads inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, with gradients for activations only.

    Gradients of the weights are not needed and would cost as much as the forward pass.
    The previous modes, flags and gradients are restored on exit.
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
