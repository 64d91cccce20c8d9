r"""Multi-head latent attention and its sparse variant.

Each token is cached as one small vector, which consists of a latent :math:`c` for the
keys and values of all heads and a rotary key :math:`r` that is shared by the heads
(DeepSeek-AI 2024, "DeepSeek-V2", arXiv 2405.04434, §2.1):

.. math:: c = \mathrm{norm}(W_{DKV}\,x), \quad k_h = [W^K_h c;\, r], \quad v_h = W^V_h c.

The matrices that expand the latent can be absorbed into the query and the output:

.. math:: q_h^\top W^K_h c = (W^{K\top}_h q_h)^\top c, \quad
          \sum_s p_s W^V_h c_s = W^V_h \sum_s p_s c_s.

A new token is then compared directly with the cached vectors, and the keys and values
are never materialized. In sparse attention (DeepSeek-AI 2025, "DeepSeek-V3.2", arXiv
2512.02556), a lightweight indexer selects the `index_topk` tokens to attend to.
Lesson: `notebooks/basic/07_latent_attention.ipynb`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import Registry
from .attending import attend
from .cache import Step
from .config import LATENT, SPARSE, Config
from .rotary import mscale, rotate


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


class RMSNorm(nn.RMSNorm):
    """RMS normalization in the dtype of the input, even under autocast.

    It computes `x / sqrt(mean(x^2) + eps) * weight`.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


# maps names to classes; `kind(config, layer)(x, step)` returns `[B, T, hidden_size]`
attentions: Registry[Callable[[Config, int], nn.Module]] = Registry(
    "attention of a language model"
)


@attentions.register(LATENT)
class LatentAttention(nn.Module):
    """A multi-head latent attention layer.

    The input and the output have the shape `[B, T, hidden_size]`. The lesson
    `basic/07_latent_attention` explains this layer.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=1))
    >>> any(isinstance(each, lm.LatentAttention) for each in model.modules())
    True
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        c, heads = config, config.num_attention_heads
        query = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim)
        if c.q_lora_rank:
            self.q_a_proj = linear(c.hidden_size, c.q_lora_rank)
            self.q_a_layernorm = RMSNorm(c.q_lora_rank, eps=1e-6)
            self.q_b_proj = linear(c.q_lora_rank, query)
        else:
            self.q_proj = linear(c.hidden_size, query)
        cache_width = c.kv_lora_rank + c.qk_rope_head_dim
        self.kv_a_proj_with_mqa = linear(c.hidden_size, cache_width)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, eps=1e-6)
        key_value = heads * (c.qk_nope_head_dim + c.v_head_dim)
        self.kv_b_proj = linear(c.kv_lora_rank, key_value)
        self.o_proj = linear(heads * c.v_head_dim, c.hidden_size)
        rope, self.scale = c.rope("main"), (query // heads) ** -0.5
        if rope.get("rope_type", "default") != "default" and rope.get("mscale_all_dim"):
            self.scale *= mscale(rope["factor"], rope["mscale_all_dim"]) ** 2

    def forward(self, x: Tensor, step: Step) -> Tensor:
        c = self.config
        q_latent = self.q_a_layernorm(self.q_a_proj(x)) if c.q_lora_rank else x
        q = (self.q_b_proj if c.q_lora_rank else self.q_proj)(q_latent)
        q = q.unflatten(2, (c.num_attention_heads, -1))  # [B, T, H, nope + rope]
        nope, rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], -1)
        rope = rotate(rope, step.rotary["main"])
        latents = self.cached_latents(x, step)  # [B, S, rank + rope]
        new, total, mask = x.shape[1], latents.shape[1], None
        indices = self.choose(x, q_latent, step)  # [B, T, k] of S
        if indices is not None and new == 1 and not self.learns():
            # read only the selected tokens
            mask = step.causal(total).gather(2, indices)  # [B, 1, k]
            latents = latents.gather(1, indices.mT.expand(-1, -1, latents.shape[2]))
        elif indices is not None:
            mask = step.causal(total)
            mask = mask & torch.zeros_like(mask).scatter(2, indices, True)
        absorbs = self.absorbs(x, latents)
        if mask is None and (absorbs or new < total):  # otherwise, is_causal is enough
            mask = step.causal(total)
        if absorbs:
            assert mask is not None
            heads = self.read_latents(nope, rope, latents, mask)
        else:
            heads = self.read_expanded(nope, rope, latents, mask)
        return self.o_proj(heads.flatten(2))

    def cached_latents(self, x: Tensor, step: Step) -> Tensor:
        """Return the vectors of all tokens, both cached and new.

        The result has the shape `[B, S, rank + rope]`.
        """
        c = self.config
        both = self.kv_a_proj_with_mqa(x)
        latent, rope = both.split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        rope = rotate(rope, step.rotary["main"])
        new = torch.cat([self.kv_a_layernorm(latent), rope], -1)
        if step.cache is None:
            return new
        return step.cache.append(self.layer, "latent", new, step)

    def choose(self, x: Tensor, q_latent: Tensor, step: Step) -> Tensor | None:
        """Return the indices of the tokens to attend to, or None for the whole past."""
        return None

    def absorbs(self, x: Tensor, kept: Tensor) -> bool:
        """Return whether absorbing the matrices is cheaper than expanding the latents.

        The cost is measured in multiplications.
        """
        c, new, total = self.config, x.shape[1], kept.shape[1]
        heads_dim = c.qk_nope_head_dim + c.v_head_dim
        expand = total * c.kv_lora_rank * heads_dim + new * total * heads_dim
        absorb = new * c.kv_lora_rank * heads_dim + new * total * 2 * c.kv_lora_rank
        return absorb < expand

    def read_expanded(
        self, nope: Tensor, rope: Tensor, kept: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Compute attention with the latents expanded to per-head keys and values.

        The result has the shape `[B, T, H, v]`.
        """
        c = self.config
        latent, shared = kept.split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        # [B, S, H, nope + v]: one matrix holds each head's rows for keys and for values
        both = self.kv_b_proj(latent).unflatten(2, (c.num_attention_heads, -1))
        key, value = both.split([c.qk_nope_head_dim, c.v_head_dim], -1)  # [B, S, H, .]
        # all heads share one rotary key, [B, S, H, rope] as a view
        shared = shared[:, :, None].expand(-1, -1, c.num_attention_heads, -1)
        q, k = torch.cat([nope, rope], -1), torch.cat([key, shared], -1)
        q, k, v = (x.transpose(1, 2) for x in (q, k, value))  # [B, H, T or S, .]
        mask = None if mask is None else mask[:, None]  # [B, 1, T, S]
        return attend(q, k, v, mask, self.scale).transpose(1, 2)

    def read_latents(
        self, nope: Tensor, rope: Tensor, kept: Tensor, mask: Tensor
    ) -> Tensor:
        """Compute attention with the latents as the keys and values of all heads.

        The result has the shape `[B, T, H, v]`.
        """
        c = self.config
        weight = self.kv_b_proj.weight.unflatten(0, (c.num_attention_heads, -1))
        key_up, value_up = weight.split(
            [c.qk_nope_head_dim, c.v_head_dim], 1
        )  # [H, ., r]
        # absorb W^K into the query: [B, T, H, rank + rope], the size of a cached vector
        q = torch.cat([torch.einsum("bthn,hnr->bthr", nope, key_up), rope], -1)
        weights = attention(q, kept, mask, self.scale)  # [B, T, H, S]
        self.learn(weights, mask)
        # the heads share the latents: one product for all, and W^V once per token
        context = weights.flatten(1, 2) @ kept[..., : c.kv_lora_rank]  # [B, T H, rank]
        context = context.unflatten(1, q.shape[1:3])  # [B, T, H, rank]
        return torch.einsum("bthr,hvr->bthv", context, value_up)

    def learns(self) -> bool:
        """Return whether an indexer learns from the attention weights."""
        return False

    def learn(self, weights: Tensor, mask: Tensor) -> None:
        """Train the indexer, if there is one, to match the attention weights."""


def attention(
    q: Tensor, keys: Tensor, mask: Tensor, scale: float, sinks: Tensor | None = None
) -> Tensor:
    """Compute the attention weights for heads that share their keys.

    The softmax is computed in float32.

    Args:
        q: the queries, of shape `[B, T, H, d]`.
        keys: the shared keys, of shape `[B, S, d]`.
        mask: a boolean tensor of shape `[B, T, S]` that is True where a token may
            attend.
        scale: the factor applied to the dot products.
        sinks: one score per head, of shape `[H]`, that absorbs part of its attention.

    Returns:
        A tensor of shape `[B, T, H, S]`.
    """
    scores = (q.flatten(1, 2) @ keys.mT * scale).unflatten(1, q.shape[1:3]).float()
    scores = scores.masked_fill(~mask[:, :, None], float("-inf"))
    if sinks is not None:
        sinks = sinks.float()[:, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], -1)
    return scores.softmax(-1)[..., : keys.shape[1]].to(q)


def learning(module: nn.Module) -> bool:
    """Return whether the module is in training mode and gradients are enabled."""
    return module.training and torch.is_grad_enabled()


class Indexer(nn.Module):
    r"""Base class for indexers, which adds a separate loss for their scores.

    The scores need a loss of their own because selecting tokens has no gradient:

    .. math:: L = D_{KL}(p_t \,\|\, \mathrm{softmax}(I_t)) \quad \text{over the selection}

    Here, :math:`p` is the attention summed over the heads (DeepSeek-V3.2, §2.1).

    Attributes:
        loss: the loss from the last training forward pass. It is reset to 0 when read
            by `LanguageModel.index_loss`.
    """

    loss: Tensor | float = 0.0
    scores: Tensor | None

    def keep(self, scores: Tensor) -> None:
        self.scores, self.loss = scores if learning(self) else None, 0.0

    def learn(self, weights: Tensor, chosen: Tensor) -> None:
        """Compute the loss from the attention weights on the selected tokens.

        Args:
            weights: the attention weights, of shape `[B, T, H, S]`.
            chosen: the mask of the selected tokens, of shape `[B, T, S]`.
        """
        target = weights.detach().float().sum(2)
        target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
        assert self.scores is not None  # set by `keep`
        log_q = self.scores.masked_fill(~chosen, -1e9).log_softmax(-1)
        self.loss = F.kl_div(log_q, target, reduction="sum") / target[..., 0].numel()
        self.scores = None


class TokenIndexer(Indexer):
    r"""Scores past tokens and selects the best ones for each token.

    .. math:: I_{ts} = \sum_j w_{tj}\,\mathrm{relu}(q_{tj} k_s)
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        heads, dim = config.index_n_heads, config.index_head_dim
        self.wq_b = linear(config.query_rank, heads * dim)
        self.wk = linear(config.hidden_size, dim)
        self.k_norm = nn.LayerNorm(dim, eps=1e-6)
        self.weights_proj = linear(config.hidden_size, heads)

    def forward(self, x: Tensor, q_latent: Tensor, step: Step) -> Tensor:
        """Return the indices of the `index_topk` best past tokens for each token.

        The result is an int64 tensor of shape `[B, T, k]`.
        """
        c, x, q_latent = self.config, x.detach(), q_latent.detach()
        q = self._turn(self.wq_b(q_latent).unflatten(2, (c.index_n_heads, -1)), step)
        k = self._turn(self.k_norm(self.wk(x)), step)
        if step.cache is not None:
            k = step.cache.append(self.layer, "index", k, step)  # [B, S, d]
        scores = index_scores(q, k, self.weights_proj(x))  # [B, T, S]
        scores = scores.masked_fill(~step.causal(k.shape[1]), float("-inf"))
        self.keep(scores)
        return best(scores, c.index_topk)

    def _turn(self, x: Tensor, step: Step) -> Tensor:
        rope = self.config.qk_rope_head_dim
        head = rotate(x[..., :rope], step.rotary["main"], interleaved=False)
        return torch.cat([head, x[..., rope:]], -1)


def index_scores(q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
    """Score each key for each query, as a weighted sum over the heads.

    Args:
        q: the queries, of shape `[B, T, H, d]`.
        k: the keys, of shape `[B, S, d]`.
        weights: the weight of each head, of shape `[B, T, H]`.

    Returns:
        A tensor of shape `[B, T, S]`.
    """
    heads, dim = q.shape[2:]
    with torch.autocast(q.device.type, enabled=False):
        products = F.relu(q.float().flatten(1, 2) @ k.float().mT)  # [B, T H, S]
        products = products.unflatten(1, q.shape[1:3]) * dim**-0.5
        return (weights.float()[:, :, None] * heads**-0.5 @ products).squeeze(2)


def best(scores: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` largest scores along the last dimension.

    If there are fewer scores, all indices are returned. Ties go to the earlier index.
    They are common because ReLU turns many scores into 0, and `topk` would break them
    arbitrarily, with different results for a batch and for a single row.
    """
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]


@attentions.register(SPARSE)
class SparseAttention(LatentAttention):
    """Latent attention to only the tokens selected by an `TokenIndexer` (DeepSeek-V3.2).

    >>> from deepseek_learn import lm
    >>> kinds = ("sparse_attention",)
    >>> config = lm.Config(layer_types=kinds, num_hidden_layers=1, q_lora_rank=32)
    >>> model = lm.LanguageModel(config)
    >>> any(isinstance(each, lm.SparseAttention) for each in model.modules())
    True
    """

    def __init__(self, config: Config, layer: int):
        super().__init__(config, layer)
        self.indexer = TokenIndexer(config, layer)

    def choose(self, x: Tensor, q_latent: Tensor, step: Step) -> Tensor | None:
        return self.indexer(x, q_latent, step)

    def absorbs(self, x: Tensor, kept: Tensor) -> bool:
        """Return True during training because the indexer learns from these weights."""
        return self.learns() or super().absorbs(x, kept)

    def learns(self) -> bool:
        return learning(self)

    def learn(self, weights: Tensor, mask: Tensor) -> None:
        if self.learns():
            self.indexer.learn(weights, mask)
