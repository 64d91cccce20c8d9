r"""Input-adaptive precision: run uncertain inputs again at a higher precision.

All inputs are first evaluated with the base planes only. The margin of a prediction is
the difference between its two largest probabilities. Inputs with a margin below a
threshold are evaluated again with the refine terms included and with about 16 bits for
activations instead of 8.

The threshold is calibrated by conformal risk control (Angelopoulos et al. 2022,
"Conformal risk control", arXiv 2208.02814). Let :math:`D(τ)` be the number of
calibration inputs, out of n, whose prediction at threshold τ differs from the
reference. An input whose refined prediction would differ is always counted, even if
its margin is not below τ. The threshold is the smallest τ such that

.. math:: \frac{D(\tau) + 1}{n + 1} \le 1 - \text{agreement}

This condition bounds the expected disagreement on new inputs from the same
distribution.

Lesson: `notebooks/basic/04b_bit_allocation.ipynb`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, inf, nextafter
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..errors import DeepSeekLearnError
from ..report import Report
from .batches import check_batches, input_of
from .layers import packed_layers

if TYPE_CHECKING:
    import plotly.graph_objects as go


class CascadeError(DeepSeekLearnError):
    """Raised if the requested agreement cannot be guaranteed."""


@dataclass(frozen=True)
class Threshold(Report):
    """The result of calibrating a cascade.

    Attributes:
        margin: the margin below which inputs are refined.
        agreement: the agreement with the reference on the calibration inputs, after
            refinement.
        base_agreement: the agreement with the reference before refinement.
        refined_fraction: the fraction of the calibration inputs that are refined.
        samples: the number of calibration inputs.
        target: the requested agreement.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4), refine=True)
    >>> cascade = dpg.Cascade(packed)
    >>> threshold = cascade.calibrate([torch.randn(256, 64)], agreement=0.9)
    >>> threshold.samples, threshold.agreement >= 0.9
    (256, True)
    """

    margin: float
    agreement: float
    base_agreement: float
    refined_fraction: float
    samples: int
    target: float

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame({"value": vars(self)})

    def plot(self) -> "go.Figure":
        """Plot the agreement before and after refinement (plotly)."""
        import plotly.graph_objects as go

        names = [text("dpg.base_only"), text("dpg.refined")]
        bars = go.Bar(x=names, y=[self.base_agreement, self.agreement])
        figure = go.Figure(bars).update_layout(template="plotly_white")
        low = min(self.base_agreement, self.target)
        return figure.update_yaxes(range=[2 * low - 1, 1], tickformat=".2%")

    def why(self) -> str:
        return text(
            "dpg.cascade",
            margin=self.margin,
            refined=f"{self.refined_fraction:.1%}",
            agreement=f"{self.agreement:.2%}",
            base=f"{self.base_agreement:.2%}",
            samples=self.samples,
        )


class Cascade(nn.Module):
    """A classifier that evaluates uncertain inputs again at a higher precision.

    It maps inputs of shape `[B, ...]` to logits of shape `[B, classes]`.

    Args:
        model: a model converted with `convert(..., refine=True)` that returns logits of
            shape `[B, classes]`.
        margin: predictions with a smaller margin are refined. A margin of 0 refines no
            predictions, and a margin above 1 refines all of them.

    Attributes:
        last_refined: the fraction of the last batch that was refined.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=2), refine=True)
    >>> cascade = dpg.Cascade(packed, margin=0.2)
    >>> cascade(torch.rand(16, 64)).shape
    torch.Size([16, 8])
    """

    def __init__(self, model: nn.Module, margin: float = 0.1):
        super().__init__()
        layers = packed_layers(model).values()
        if not any(layer.matrix.has_refinement for layer in layers):
            raise ValueError(
                "model must have refine terms: convert it with refine=True."
            )
        if not margin >= 0:
            raise ValueError(f"margin must be at least 0; got {margin!r}.")
        self.model, self.margin, self.last_refined = model, float(margin), 0.0
        self.eval()

    def train(self, mode: bool = True) -> Self:
        self.model.train(mode)  # raises FrozenModelError if mode is True
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """Predict at the base precision, then refine the uncertain predictions.

        This method is not thread-safe, because the precision is stored in the model's
        layers.
        """
        logits = self._predict(x, refined=False)
        uncertain = (margins(logits) < self.margin).nonzero()[:, 0]  # [n]
        self.last_refined = len(uncertain) / max(len(logits), 1)
        if len(uncertain):
            logits[uncertain] = self._predict(x[uncertain], refined=True)
        return logits

    def _predict(self, x: Tensor, refined: bool) -> Tensor:
        refine(self.model, refined)
        try:
            return self.model(x)
        finally:
            refine(self.model, False)

    def calibrate(
        self,
        batches: Iterable[Any],
        agreement: float = 0.999,
        reference: nn.Module | None = None,
    ) -> Threshold:
        """Set `margin` so that predictions reach the requested agreement.

        Args:
            batches: inputs that were not used for compression, or tuples whose first
                element is such an input. At least `agreement / (1 - agreement)` inputs
                are needed, which is 999 for an agreement of 0.999.
            agreement: the requested fraction of inputs on which the model and the
                reference predict the same class (the class with the largest logit).
            reference: the original model. By default, the reference is the compressed
                model with its refine terms.

        Raises:
            ValueError: if `agreement` is not between 0 and 1, or if there are too few
                inputs.
            CascadeError: if the agreement cannot be reached even if all inputs are
                refined.
        """
        if not 0 < agreement < 1:
            raise ValueError(f"agreement must lie between 0 and 1; got {agreement!r}.")
        # 1. Compare the base and refined predictions with the reference (each is [n]).
        margin, base_same, refined_same = self._compare(batches, reference)
        n = len(margin)
        # 2. Find the largest D with (D + 1) / (n + 1) <= 1 - agreement. Adding 1e-9 is
        # necessary because (1 - 0.9) * 10 is 0.9999999999999998 in floating point.
        allowed = int((1 - agreement) * (n + 1) + 1e-9) - 1
        if allowed < 0:
            raise ValueError(
                f"agreement={agreement:g} needs at least "
                f"{ceil(agreement / (1 - agreement) - 1e-6)} calibration inputs; got {n}."
            )
        # 3. Compute D if the k inputs with the smallest margins are refined, k = 0..n.
        order = margin.argsort()  # [n]
        errors = _errors(base_same[order], refined_same[order])  # [n + 1]
        # 4. Find the smallest k that satisfies the bound. It must lie between two
        # different margins, because a threshold cannot separate equal margins.
        separable = torch.ones(n + 1, dtype=torch.bool)
        separable[1:-1] = margin[order].diff() > 0
        candidates = ((errors <= allowed) & separable).nonzero()[:, 0]
        if not len(candidates):
            raise CascadeError(
                f"the refined predictions themselves differ from the reference on "
                f"{int(errors[-1])} of {n} inputs; agreement={agreement:g} "
                f"allows {allowed}. Request a lower agreement, or compress with more "
                f"bits."
            )
        k = int(candidates[0])
        # 5. Set the threshold to the next float above the k-th smallest margin, because
        # only inputs with a smaller margin than the threshold are refined.
        largest_refined = margin[order[k - 1]].item() if k else 0.0
        self.margin = nextafter(largest_refined, inf) if k else 0.0
        mask = margin < self.margin
        same = torch.where(mask, refined_same, base_same).double().mean().item()
        base = base_same.double().mean().item()
        fraction = mask.double().mean().item()
        return Threshold(self.margin, same, base, fraction, n, agreement)

    @torch.inference_mode()
    def _compare(
        self, batches: Iterable[Any], reference: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compare the base and the refined predictions with the reference.

        Returns the margins at the base precision and two boolean masks, all of shape
        `[n]`. The first mask marks the inputs whose base prediction matches the
        reference, and the second one marks the inputs whose refined prediction does.
        """
        check_batches(batches)
        results = []
        for batch in batches:
            x = input_of(batch, self.model)
            if not isinstance(x, Tensor):  # only rows of a tensor can be refined
                raise TypeError(
                    f"batches must contain tensors or tuples that begin with one; "
                    f"got a {type(x).__name__}."
                )
            base, refined = self._predict(x, False), self._predict(x, True)
            target = (refined if reference is None else reference(x)).argmax(1)
            same = (logits.argmax(1) == target for logits in (base, refined))
            results.append((margins(base), *same))
        if not results:
            raise ValueError(
                "batches must contain at least one input, but it was empty."
            )
        margin, base_same, refined_same = (
            torch.cat(part).cpu() for part in zip(*results, strict=True)
        )
        return margin, base_same, refined_same


def _errors(base_same: Tensor, refined_same: Tensor) -> Tensor:
    """Compute D for every k from 0 to n, where the first k inputs are refined.

    The result has shape `[n + 1]`. An input that is wrong after refinement is counted
    even if it is not refined, because the guarantee requires that D does not increase
    with k.
    """
    zero = torch.zeros(1, dtype=torch.int64)
    refined = (~refined_same).cumsum(0)  # among the first k, k = 1..n
    both_same = base_same & refined_same
    base = (~both_same).flip(0).cumsum(0).flip(0)  # among the others, k = 0..n-1
    return torch.cat([zero, refined]) + torch.cat([base, zero])


def margins(logits: Tensor) -> Tensor:
    """Return the difference between the two largest probabilities in each row.

    The logits have shape `[B, classes]`, and the result is a float64 tensor of shape
    `[B]`.
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"the model must return logits [B, classes] with at least two classes; got "
            f"{list(logits.shape)}."
        )
    top = logits.double().softmax(1).topk(2, 1).values
    return top[:, 0] - top[:, 1]


def refine(model: nn.Module, on: bool) -> None:
    """Enable or disable the refine terms and wide activations in all packed layers."""
    for layer in packed_layers(model).values():
        layer.matrix.refined = layer.matrix.wide = on
