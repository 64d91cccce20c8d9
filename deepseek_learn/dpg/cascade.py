r"""Input-adaptive precision for a whole model: base planes for all, all for the unsure.

The margin of an answer is the difference of its two largest probabilities. Inputs whose
margin at the base precision is below a threshold are answered anew with the refine
terms and with activations of about 16 bits instead of 8. The threshold is calibrated by
conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814): with n calibration
inputs, of which at a threshold τ the number :math:`D(τ)` answers differently from the
reference (or, below τ or not, would do so when refined), the smallest τ is taken with

.. math:: \frac{D(\tau) + 1}{n + 1} \le 1 - \text{agreement}

so that for new inputs of the same kind the expected disagreement keeps the bound.
Lesson: `notebooks/basic/04_dynamic_parameter_groups.ipynb`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf, nextafter

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..errors import DeepSeekLearnError
from ..report import Report
from .batches import check_batches, input_of
from .layers import packed_layers


class CascadeError(DeepSeekLearnError):
    """The agreement asked for cannot be promised."""


@dataclass(frozen=True)
class Threshold(Report):
    """What calibrating a cascade found.

    Attributes:
        margin: inputs below it are refined.
        agreement: with the reference, on the calibration inputs, after refining.
        base_agreement: before.
        refined: share of the calibration inputs that is refined.
        samples: calibration inputs.
        wanted: the agreement asked for.
    """

    margin: float
    agreement: float
    base_agreement: float
    refined: float
    samples: int
    wanted: float

    def to_frame(self) -> pd.DataFrame:
        return pd.DataFrame({"value": vars(self)})

    def plot(self):
        """Agreement before and after refining (plotly)."""
        import plotly.graph_objects as go

        names = [text("dpg.base_only"), text("dpg.refined")]
        bars = go.Bar(x=names, y=[self.base_agreement, self.agreement])
        figure = go.Figure(bars).update_layout(template="plotly_white")
        low = min(self.base_agreement, self.wanted)
        return figure.update_yaxes(range=[2 * low - 1, 1], tickformat=".2%")

    def why(self) -> str:
        return text(
            "dpg.cascade",
            margin=self.margin,
            refined=f"{self.refined:.1%}",
            agreement=f"{self.agreement:.2%}",
            base=f"{self.base_agreement:.2%}",
            samples=self.samples,
        )


class Cascade(nn.Module):
    """`[B, ...]` → logits `[B, classes]`, at the base precision or refined.

    Args:
        model: from `convert(..., refine=True)`; it answers with logits `[B, classes]`.
        margin: refine answers with a smaller margin, 0 (none) to more than 1 (all).

    Attributes:
        last_refined: share of the last batch that was refined.
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

    def train(self, mode: bool = True):
        self.model.train(mode)  # refuses
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """One thread at a time: the precision is a state of the model's layers."""
        logits = self._answer(x, refined=False)
        unsure = (margins(logits) < self.margin).nonzero()[:, 0]
        self.last_refined = len(unsure) / max(len(logits), 1)
        if len(unsure):
            logits[unsure] = self._answer(x[unsure], refined=True)
        return logits

    def _answer(self, x: Tensor, refined: bool) -> Tensor:
        refine(self.model, refined)
        try:
            return self.model(x)
        finally:
            refine(self.model, False)

    def calibrate(
        self,
        batches: Iterable,
        agreement: float = 0.999,
        reference: nn.Module | None = None,
    ) -> Threshold:
        """Set `margin` so that answers agree with the reference as often as asked.

        Args:
            batches: inputs, or tuples that begin with one, not used to compress; at
                least `agreement / (1 - agreement)` inputs (999 for 0.999).
            agreement: share of inputs whose largest logit is the reference's.
            reference: the original; by default the model with its refine terms.

        Raises:
            ValueError: for an agreement that is none, or too few inputs for it.
            CascadeError: when even refining all inputs does not reach it.
        """
        if not 0 < agreement < 1:
            raise ValueError(f"agreement must lie between 0 and 1; got {agreement!r}.")
        margin, base_same, refined_same = self._compare(batches, reference)
        n = len(margin)
        allowed = int((1 - agreement) * (n + 1) + 1e-9) - 1  # D may be
        if allowed < 0:
            raise ValueError(
                f"agreement={agreement:g} needs at least "
                f"{ceil(agreement / (1 - agreement) - 1e-6)} calibration inputs; got {n}."
            )
        order = margin.argsort()
        # D with the first k inputs refined, k = 0..n, from the least sure on
        first = (~refined_same[order]).cumsum(0)
        # an input that refining would spoil counts in both: D must only fall with τ
        rest = (~(base_same & refined_same)[order]).flip(0).cumsum(0).flip(0)
        zero = torch.zeros(1, dtype=torch.int64)
        different = torch.cat([zero, first]) + torch.cat([rest, zero])
        # a threshold cannot divide inputs of equal margin
        divides = torch.ones(n + 1, dtype=torch.bool)
        divides[1:-1] = margin[order].diff() > 0
        reached = ((different <= allowed) & divides).nonzero()[:, 0]
        if not len(reached):
            raise CascadeError(
                f"refined answers themselves differ from the reference on "
                f"{int(first[-1])} of {n} inputs; agreement={agreement:g} allows "
                f"{allowed}. Ask for less, or compress with more bits."
            )
        k = int(reached[0])
        last = margin[order[k - 1]].item() if k else 0.0
        self.margin = nextafter(last, inf) if k else 0.0
        taken = margin < self.margin
        same = torch.where(taken, refined_same, base_same).double().mean().item()
        base = base_same.double().mean().item()
        share = taken.double().mean().item()
        return Threshold(self.margin, same, base, share, n, agreement)

    @torch.inference_mode()
    def _compare(self, batches, reference) -> tuple[Tensor, Tensor, Tensor]:
        """Base margin, and whether base and refined answer as the reference, `[n]`."""
        check_batches(batches)
        found = []
        for batch in batches:
            x = input_of(batch)
            if not isinstance(x, Tensor):  # only rows of a tensor can be refined
                raise TypeError(
                    f"batches must hold tensors, or tuples that begin with one; got a "
                    f"{type(x).__name__}."
                )
            base, refined = self._answer(x, False), self._answer(x, True)
            wanted = (refined if reference is None else reference(x)).argmax(1)
            same = (logits.argmax(1) == wanted for logits in (base, refined))
            found.append((margins(base), *same))
        if not found:
            raise ValueError("batches must hold at least one input; it was empty.")
        return tuple(torch.cat(part).cpu() for part in zip(*found, strict=True))


def margins(logits: Tensor) -> Tensor:
    """Largest minus second largest probability of `[B, classes]`, float64 `[B]`."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"the model must answer with logits [B, classes], at least two classes; "
            f"got {list(logits.shape)}."
        )
    top = logits.double().softmax(1).topk(2, 1).values
    return top[:, 0] - top[:, 1]


def refine(model: nn.Module, on: bool) -> None:
    """From now on all planes and wide activations, or the base planes only."""
    for layer in packed_layers(model).values():
        layer.matrix.refined = layer.matrix.wide = on
