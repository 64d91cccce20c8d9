"""Accumulate statistics on each layer's inputs and gradients during calibration.

A layer can run several times in one forward pass. Gradients arrive in the reverse order
of these calls, so each call pairs its own inputs with its own gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .halves import Halves, shrinkage
from .matrix import FloatLayer, input_rows, is_finite, output_rows
from .monitor import DynamicParameterGroup

ROWS_A_BATCH = 4096  # the maximum number of rows per batch for H
BLOCK = 128  # columns below which a product is not split into halves


@dataclass(frozen=True)
class Statistics:
    """The calibration statistics of one layer.

    Attributes:
        second_moment: the second moment of the inputs, a float32 tensor of shape
            `[K, K]`, or only its diagonal, of shape `[K]`.
        gradient: the squared gradient of each output per sample, a float32 tensor of
            shape `[N]`.
        frequency: the fraction of positions at which each output is active (0 to 1), a
            float32 tensor of shape `[N]`. For an embedding, it is the relative
            frequency of each token.
        positions: the number M of inputs that were averaged, or 0 if it is unknown.
        halves_agree: whether the first half of the calibration inputs tells which rows
            matter in the second half, and vice versa (see `halves.consistent`).

    With few positions, the averages fit the calibration data better than other data.
    `shrunk_moment` and `shrunk_gradient` therefore move the estimates for K columns or N
    rows toward what they have in common, by min(0.2, K / M) or min(0.2, N / 4M) of the
    way. If the halves disagree, all rows get the mean gradient. Compare Ledoit & Wolf
    2004, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> calibration = dpg.calibrate(torch.nn.Linear(64, 32), [torch.rand(16, 64)])
    >>> calibration.layers[""].second_moment.shape  # the mean of x xᵀ
    torch.Size([64, 64])
    """

    second_moment: Tensor
    gradient: Tensor
    frequency: Tensor
    positions: int = 0
    halves_agree: bool = True

    @property
    def shrunk_moment(self) -> Tensor:
        """The second moment with smaller correlations, `[K, K]` or `[K]`, for rounding."""
        moment = self.second_moment
        if moment.dim() == 1:
            return moment
        diagonal = torch.diag(moment.diagonal())
        return moment.lerp(diagonal, shrinkage(len(moment), self.positions))

    @property
    def shrunk_gradient(self) -> Tensor:
        """The squared gradients moved toward their mean, `[N]`, for allocating bits."""
        gradient = self.gradient
        share = shrinkage(len(gradient) / 4, self.positions)
        return gradient.lerp(gradient.mean(), share if self.halves_agree else 1.0)


@dataclass(frozen=True)
class Moment:
    """The second moment of one input, summed over its rows.

    Attributes:
        x: the input, a tensor of shape `[..., K]`, and its `version` at that time.
        total: the sum of x xᵀ, of shape `[K, K]`, or its diagonal, of shape `[K]`.
        rows: the number of rows M.
        sampled: the number of rows from which the sum was estimated.
    """

    x: Tensor
    version: int
    total: Tensor
    rows: int
    sampled: int

    def is_of(self, x: Tensor) -> bool:
        """Return whether `x` is the same tensor and was not modified since."""
        return x is self.x and x._version == self.version


@dataclass
class SharedState:
    """State shared by the running sums for all layers."""

    generator: torch.Generator
    correlations: bool
    mask: Tensor | None = None  # the positions to include (bool)
    latest: "Moment | None" = None  # of the last linear layer
    batch: int = 0  # the number of the current batch

    def start_batch(self) -> None:
        self.batch, self.latest = self.batch + 1, None  # the mask may be another

    def select(self, x: Tensor, axes: int = 1) -> Tensor:
        """Select the unmasked positions of a tensor of shape `[*positions, ...]`.

        If the mask does not match the shape of the tensor, all positions are returned.
        """
        mask = self.mask
        if mask is None or mask.shape != x.shape[: x.dim() - axes]:
            return x
        return x[mask.to(x.device)]


class Sums:
    """The running sums for one layer, which are kept on the CPU."""

    def __init__(self, name: str, layer: FloatLayer, state: SharedState):
        self.name, self.layer, self.state = name, layer, state
        self.second_moment: Tensor | None = None
        self.gradient: Tensor | None = None
        self.halves = Halves()  # of the gradients of a product
        self.sampled = 0  # inputs

    def forward(self, x: Tensor) -> None:
        """Add the inputs of one call."""
        raise NotImplementedError

    def backward(self, x: Tensor) -> Callable[[Tensor], None]:
        """Return the function that adds the output gradients of the call on `x`."""
        raise NotImplementedError

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        """Return the mean second moment and the squared gradient per sample.

        This requires `took_part` to be True.
        """
        raise NotImplementedError

    def frequency(self, watch: DynamicParameterGroup) -> Tensor:
        """Return the activation frequency of each row."""
        raise NotImplementedError

    def problem(self, what: str) -> str:
        return f"the {what} of layer {self.name!r} contain NaN or infinity."

    @property
    def took_part(self) -> bool:
        return self.gradient is not None

    @property
    def halves_agree(self) -> bool:
        """Whether the halves of the data agree about the rows, as far as is known."""
        return self.halves.agree(shrinkage(len(self.layer.weight) / 4, self.sampled))

    @property
    def totals(self) -> tuple[Tensor, Tensor]:
        """The accumulated second moment and squared gradient."""
        assert self.second_moment is not None
        assert self.gradient is not None
        return self.second_moment, self.gradient

    def checked(self, second_moment: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return both tensors in float32, or raise ValueError if one is not finite."""
        sums = {"squared inputs": second_moment, "squared gradients": gradient}
        for what, total in sums.items():
            if not is_finite(total.float()):
                raise ValueError(self.problem(what))
        return second_moment.float(), gradient.float()


class _Product(Sums):
    """The running sums for a linear layer or a convolution."""

    rows = 0  # inputs, including those that were not sampled

    def forward(self, x: Tensor) -> None:
        if isinstance(self.layer, nn.Linear):
            # linear layers often share an input: queries, keys and values, for example
            latest = self.state.latest
            if latest is None or not latest.is_of(x):
                self.state.latest = latest = self._moment(x, self.state.select(x))
        else:
            latest = self._moment(x, x)
        self.second_moment = _plus(self.second_moment, latest.total)
        self.rows += latest.rows
        self.sampled += latest.sampled

    def _moment(self, x: Tensor, selected: Tensor) -> Moment:
        rows = input_rows(self.layer, selected.detach()).float()  # [M, K]
        if not is_finite(rows):
            raise ValueError(self.problem("inputs"))
        count = len(rows)
        if count > ROWS_A_BATCH:
            order = torch.randperm(count, generator=self.state.generator)
            rows = rows[order[:ROWS_A_BATCH].to(rows.device)]
        full = self.state.correlations
        total = gram(rows) if full else rows.square().sum(0)
        # A sample stands for all rows, or a long call would weigh as little as a short.
        total = total.cpu().mul_(count / max(len(rows), 1))
        return Moment(x, x._version, total, count, len(rows))

    def backward(self, x: Tensor) -> Callable[[Tensor], None]:
        return self._add_damage

    def _add_damage(self, gradient: Tensor) -> None:
        rows = output_rows(self.layer, gradient.detach()).float()  # [M, N]
        damage = rows.square().sum(0).cpu()
        self.halves.add(damage, self.state.batch)
        self.gradient = _plus(self.gradient, damage.double())

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        second_moment, gradient = self.totals
        return self.checked(second_moment / self.rows, gradient / samples)

    def frequency(self, watch: DynamicParameterGroup) -> Tensor:
        return watch.frequency(self.name)


class _Lookup(Sums):
    """The running sums for an embedding.

    Tokens that do not occur in the calibration data may still occur later. Each token
    is therefore counted one extra time with the mean gradient (Laplace's rule of
    succession).
    """

    layer: nn.Embedding

    def forward(self, x: Tensor) -> None:
        tokens = self._tokens(x)
        self.sampled += len(tokens)
        self.counts = getattr(self, "counts", 0) + torch.bincount(
            tokens, minlength=self.layer.num_embeddings
        )

    def backward(self, x: Tensor) -> Callable[[Tensor], None]:
        return partial(self._add_damage, self._tokens(x))

    def _tokens(self, x: Tensor) -> Tensor:
        """Copy the unmasked indices, `[M]`: the model may change `x` in place later."""
        return self.state.select(x, axes=0).flatten().to("cpu", torch.int64, copy=True)

    def _add_damage(self, tokens: Tensor, gradient: Tensor) -> None:
        rows = self.state.select(gradient.detach()).float().cpu()
        squares = rows.reshape(len(tokens), -1).square()  # [M, K]
        moment = squares.sum(0, dtype=torch.float64)
        self.second_moment = _plus(self.second_moment, moment)
        total = torch.zeros(self.layer.num_embeddings, dtype=torch.float64)
        total.index_add_(0, tokens, squares.double().mean(1))
        self.gradient = _plus(self.gradient, total)

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        count, rows = self.counts.sum(), len(self.counts)
        second_moment, gradient = self.totals
        # each token once more, with the mean gradient; then scaled back to `count` tokens
        mean = gradient.sum() / count
        gradient = (gradient + mean) * count / (count + rows) / samples
        relative = second_moment / second_moment.mean().clamp(min=1e-30)
        return self.checked(relative, gradient)

    def frequency(self, watch: DynamicParameterGroup) -> Tensor:
        return self.counts / self.counts.sum()


def gram(x: Tensor) -> Tensor:
    """Return `X^T X` of `x`, `[M, K]`: by symmetry, one corner is another transposed."""
    half = x.shape[1] // 2
    if half < BLOCK:
        return x.T @ x
    left, right = x[:, :half], x[:, half:]
    corner = left.T @ right
    top = torch.cat([gram(left), corner], 1)
    return torch.cat([top, torch.cat([corner.T, gram(right)], 1)])


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    """Add in place, but not to the first part, which other layers may share."""
    return part.clone() if total is None else total.add_(part)


def sums_of(name: str, layer: FloatLayer, state: SharedState) -> Sums:
    kind = _Lookup if isinstance(layer, nn.Embedding) else _Product
    return kind(name, layer, state)


def merged(uses: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Merge the statistics of all layers that use the same matrix.

    The damage to a row is the sum of the damage in all layers. All rows share one
    second moment, which is the mean over the layers, weighted by the total damage in
    each layer.
    """
    if len(uses) == 1:
        return uses[0]
    # Damage is gradient times second moment, and only the product can be compared: the
    # moment of an embedding is relative (its mean is 1), that of a head is not.
    sizes = [_mean_square(moment) for moment, _ in uses]
    damages = [gradient * size for (_, gradient), size in zip(uses, sizes, strict=True)]
    total = _sum([damage.sum() for damage in damages])
    full = any(moment.dim() == 2 for moment, _ in uses)
    parts = []
    for (moment, _), size, damage in zip(uses, sizes, damages, strict=True):
        # an embedding looks up one row at a time, so that its moment is diagonal
        moment = torch.diag(moment) if full and moment.dim() == 1 else moment
        parts.append(moment * (damage.sum() / total * sizes[0] / size))
    return _sum(parts), _sum(damages) / sizes[0]


def _sum(tensors: list[Tensor]) -> Tensor:
    return sum(tensors[1:], tensors[0])


def _mean_square(moment: Tensor) -> Tensor:
    diagonal = moment.diagonal() if moment.dim() == 2 else moment
    return diagonal.mean().clamp(min=1e-30)
