r"""A mixture of experts, in which only a few of many small networks process each token.

.. math:: y = S(x) + \sum_{e \in \mathrm{top}_k(s + b)} g_e E_e(x), \quad
          s = \sigma(W x), \quad g_e = \lambda\, s_e / \sum_{selected} s

The shared experts :math:`S` process every token (Dai et al. 2024, "DeepSeekMoE", arXiv
2401.06066). The bias :math:`b` affects only the selection of experts. It is lowered by
a small step for each expert that received more than its share of a batch and raised for
each expert that received less. This evens out the load without an auxiliary loss that
competes with the language-modeling loss (Wang et al. 2024, "Auxiliary-loss-free load
balancing strategy for mixture-of-experts", arXiv 2408.15664; DeepSeek-AI 2024,
"DeepSeek-V3", arXiv 2412.19437, §2.1.2).
Lesson: `notebooks/basic/08_mixture_of_experts.ipynb`.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dpg.kernels import can_group, grouped, grouped_packed
from ..dpg.layers import DPGLinear
from ..dpg.packed import PackedMatrix
from .config import Config
from .latent import learning, linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}
SCORES = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: logits.softmax(-1),
    "sqrtsoftplus": lambda logits: F.softplus(logits).sqrt(),
}
# (tokens `[N k, d]` sorted by expert, their experts, load `[E]`) → outputs `[N k, d]`
Run = Callable[[Tensor, Tensor, Tensor], Tensor]
PROJECTIONS = ("gate_up_proj", "down_proj")
WORTH_A_KERNEL = 1 << 20  # weights; smaller models need no compiled library
BLOCK = 32  # tokens per expert; larger blocks use all cores even without batching


class MLP(nn.Module):
    """A gated MLP with one hidden layer.

    The input and the output have the shape `[..., hidden_size]`.
    """

    def __init__(self, config: Config, hidden: int):
        super().__init__()
        size, bias = config.hidden_size, config.mlp_bias
        self.gate_proj = nn.Linear(size, hidden, bias=bias)
        self.up_proj = nn.Linear(size, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, size, bias=bias)
        self.activation = config.hidden_act

    def forward(self, x: Tensor) -> Tensor:
        gate = ACTIVATIONS[self.activation](self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x))


class Router(nn.Module):
    """A router that selects the experts for each token and computes their weights.

    Attributes:
        load: the number of tokens routed to each expert during training since the last
            call to `balance`, as a tensor of shape `[E]`.
    """

    e_score_correction_bias: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        experts = config.n_routed_experts
        if config.scoring_func not in SCORES:
            raise ValueError(
                f"scoring_func must be one of {[*SCORES]}; got {config.scoring_func!r}."
            )
        # not an nn.Linear, which compression would replace: routing needs exact scores
        self.weight = nn.Parameter(torch.randn(experts, config.hidden_size) * 0.02)
        self.balanced = config.topk_method == "noaux_tc"
        if self.balanced:
            self.register_buffer(
                "e_score_correction_bias", torch.zeros(experts, dtype=torch.float32)
            )
        self.load: Tensor | int = 0

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Keep the bias in float32 regardless of the model's dtype.

        The bias changes in steps that may be too small for a lower precision.
        """
        exact = getattr(self, "e_score_correction_bias", None)
        super()._apply(fn, recurse)
        if exact is not None and self.e_score_correction_bias.dtype != torch.float32:
            device = self.e_score_correction_bias.device
            self.e_score_correction_bias = exact.to(device, torch.float32)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Select experts for each token.

        The scores are always computed in float32, because rounding them to bfloat16
        could change the order of nearly equal scores.

        Args:
            x: the tokens, a tensor of shape `[N, d]`.

        Returns:
            The indices of the selected experts and their weights in float32, both of
            shape `[N, k]`.
        """
        c = self.config
        with torch.autocast(x.device.type, enabled=False):
            scores = SCORES[c.scoring_func](F.linear(x.float(), self.weight.float()))
        # the bias affects only the selection, not the weights
        biased = scores + self.e_score_correction_bias if self.balanced else scores
        experts = self._best(biased.detach())  # [N, k]
        weights = scores.gather(1, experts)  # [N, k], without the bias
        if c.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        if learning(self):
            counts = experts.flatten().bincount(minlength=c.n_routed_experts)
            self.load = self.load + counts
        return experts, weights * c.routed_scaling_factor

    def _best(self, scores: Tensor) -> Tensor:
        """Return the indices of the experts with the highest scores, of shape `[N, k]`.

        With group-limited routing, only the best `topk_group` groups are considered.
        """
        c = self.config
        if c.topk_group < c.n_group and c.topk_method != "greedy":
            groups = scores.unflatten(1, (c.n_group, -1))  # [N, G, E/G]
            # V3 ranks groups by the sum of their two best scores, V2 by the best score
            count = 2 if self.balanced else 1
            value = groups.topk(min(count, groups.shape[2]), -1).values.sum(-1)
            best = value.topk(c.topk_group, -1).indices  # [N, topk_group]
            mask = torch.ones_like(value, dtype=torch.bool)  # [N, G]
            mask.scatter_(1, best, False)
            scores = groups.masked_fill(mask[..., None], float("-inf")).flatten(1)
        return scores.topk(c.num_experts_per_tok, -1).indices

    @torch.no_grad()
    def balance(self, rate: float = 1e-3) -> None:
        """Move each expert's bias by `rate` toward an even load; reset the counts."""
        if self.balanced and isinstance(self.load, Tensor):
            load = self.load.float()  # [E]
            # the sign only: a fixed step, however uneven the load is
            self.e_score_correction_bias += rate * torch.sign(load.mean() - load)
        self.load = 0


def feed(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Apply one expert, or a batch of experts, to tokens of shape `[..., n, d]`."""
    gate, up = (x @ gate_up.mT).chunk(2, -1)  # [..., n, f] each
    return F.silu(gate) * up @ down.mT


def dispatch(
    x: Tensor, chosen: Tensor, weights: Tensor, count: int, run: Run
) -> Tensor:
    """Apply the selected experts to each token and sum their weighted outputs.

    Args:
        x: the tokens, a tensor of shape `[N, d]`.
        chosen, weights: the experts selected for each token and their weights, both of
            shape `[N, k]`.
        count: the number of experts.
        run: a function that applies the experts to tokens sorted by expert; see `Run`.

    Returns:
        A tensor of shape `[N, d]`.
    """
    expert = chosen.flatten()  # [N k]
    order = expert.argsort(stable=True)  # [N k], pairs of token and expert
    token = order // chosen.shape[1]  # [N k]
    load = expert.bincount(minlength=count)  # [E]
    outputs = run(x[token], expert[order], load) * weights.flatten()[order, None]
    # each token occurs k times, which indexed assignment would overwrite
    return torch.zeros_like(x).index_add_(0, token, outputs.to(x))


def one_by_one(experts: Iterable[Callable[[Tensor], Tensor]]) -> Run:
    """Return a `Run` that calls each expert once with all of its tokens.

    Experts that have no tokens are not called.
    """

    def run(x: Tensor, expert: Tensor, load: Tensor) -> Tensor:
        blocks = zip(experts, x.split(load.tolist()), strict=True)
        return torch.cat([each(block) for each, block in blocks if len(block)])

    return run


class Experts(nn.Module):
    """The routed experts in a layer, with their weights stacked.

    The gate and up projections are stored in one tensor of shape `[E, 2f, d]`, and the
    down projections in a tensor of shape `[E, d, f]`.
    """

    def __init__(self, config: Config):
        super().__init__()
        experts, hidden = config.n_routed_experts, config.moe_intermediate_size
        sizes = (experts, 2 * hidden, config.hidden_size)
        self.gate_up_proj = nn.Parameter(torch.randn(sizes) * 0.02)
        sizes = (experts, config.hidden_size, hidden)
        self.down_proj = nn.Parameter(torch.randn(sizes) * 0.02)

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        return dispatch(x, chosen, weights, len(self.down_proj), self._run)

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the experts, yielding the two weight matrices of each.

        The stacks are split with `unbind`, so the gradient of each matrix has the size
        of that matrix rather than of the whole stack.
        """
        return zip(self.gate_up_proj.unbind(), self.down_proj.unbind(), strict=True)

    def _run(self, x: Tensor, expert: Tensor, load: Tensor) -> Tensor:
        """Apply the experts, using one product for all if each has only a few tokens.

        Without the C++ kernel or with gradients, that is a batched product, for which
        each expert's block of tokens is zero-padded to the size of the largest block.
        """
        most = int(load.max())
        # 1. A few tokens per expert in a large layer: the kernel needs no padding.
        stacks = (self.gate_up_proj, self.down_proj)
        large = self.gate_up_proj.numel() >= WORTH_A_KERNEL
        if large and most <= BLOCK and can_group(x, *stacks):
            gate, up = grouped(x, load, self.gate_up_proj).chunk(2, -1)
            return grouped(F.silu(gate) * up, load, self.down_proj)
        # 2. Large blocks use all cores one by one, and uneven ones would be mostly padding.
        if most > BLOCK or len(load) * most > 4 * len(x):
            networks = [partial(feed, gate_up=g, down=d) for g, d in self.pairs()]
            return one_by_one(networks)(x, expert, load)
        # 3. Otherwise, one batched product. `slot` is a token's place in its block.
        first = load.cumsum(0) - load  # [E], each expert's first row in x
        slot = torch.arange(len(x), device=x.device) - first[expert]  # [N k]
        blocks = x.new_zeros(len(load), most, x.shape[1])
        blocks = blocks.index_put((expert, slot), x)  # [E, most, d]
        return feed(blocks, self.gate_up_proj, self.down_proj)[expert, slot]


class Expert(nn.Module):
    """A single expert with its own linear layers.

    The input and the output have the shape `[n, d]`.
    """

    def __init__(self, gate_up: Tensor, down: Tensor):
        super().__init__()
        self.gate_up_proj = linear(gate_up.shape[1], gate_up.shape[0])
        self.down_proj = linear(down.shape[1], down.shape[0])
        self.gate_up_proj.weight.data = gate_up.detach().clone()
        self.down_proj.weight.data = down.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class SeparateExperts(nn.ModuleList):
    """A drop-in replacement for `Experts` that stores each expert as a module.

    It is meant for tools that require linear layers; see `separate`.
    """

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        return dispatch(x, chosen, weights, len(self), self._run)

    def _run(self, x: Tensor, expert: Tensor, load: Tensor) -> Tensor:
        first, second = (_matrices(self, name) for name in PROJECTIONS)
        if not first or not second or not can_group(x):
            return one_by_one(self)(x, expert, load)
        gate, up = grouped_packed(x, load, first).chunk(2, -1)
        return grouped_packed(F.silu(gate) * up, load, second)


def _matrices(experts: Iterable[nn.Module], name: str) -> list[PackedMatrix]:
    """Return one layer's matrix of each expert, or [] if one call cannot multiply them.

    They must all be packed, of one size, and read at 8-bit activations.
    """
    layers = [getattr(expert, name) for expert in experts]
    if not all(isinstance(layer, DPGLinear) for layer in layers):
        return []
    matrices = [layer.matrix for layer in layers]
    kinds = {(m.rows, m.columns, m.group_size, m.wide) for m in matrices}
    plain = all(layer.bias is None for layer in layers) and not matrices[0].wide
    return matrices if plain and len(kinds) == 1 else []


def separate(model: nn.Module) -> nn.Module:
    """Return a copy of the model in which each expert is a separate module.

    Use it before compressing or profiling a model.

    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2))
    >>> len(list(lm.separate(model).modules())) >= len(list(model.modules()))
    True
    """
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        experts = getattr(module, "experts", None)
        if isinstance(experts, Experts):
            pairs = experts.pairs()
            module.experts = SeparateExperts(Expert(*pair) for pair in pairs)
    return model


class MixtureOfExperts(nn.Module):
    """A mixture-of-experts layer.

    The input and the output have the shape `[B, T, hidden_size]`. The lesson
    `basic/08_mixture_of_experts` explains this layer.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> layer = lm.MixtureOfExperts(lm.Config())
    >>> layer(torch.rand(1, 8, 128)).shape
    torch.Size([1, 8, 128])
    """

    def __init__(self, config: Config):
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        shared = config.n_shared_experts * config.moe_intermediate_size
        self.shared_experts = MLP(config, shared) if shared else None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)  # [N, d]
        routed = self.experts(flat, *self.gate(flat))  # [N, d]
        routed = routed.view_as(x)
        if self.shared_experts is None:
            return routed
        return routed + self.shared_experts(x)
