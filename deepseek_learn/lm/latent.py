r"""Multi-head latent attention.

Each token is cached as one small vector, which consists of a latent :math:`c` for the
keys and values of all heads and a rotary key :math:`r` that is shared by the heads
(DeepSeek-AI 2024, "DeepSeek-V2", arXiv 2405.04434, §2.1):

.. math:: c = \mathrm{norm}(W_{DKV}\,x), \quad k_h = [W^K_h c;\, r], \quad v_h = W^V_h c.

The matrices that expand the latent can be absorbed into the query and the output:

.. math:: q_h^\top W^K_h c = (W^{K\top}_h q_h)^\top c, \quad
          \sum_s p_s W^V_h c_s = W^V_h \sum_s p_s c_s.

A new token is then compared directly with the cached vectors, and the keys and values
are never materialized. The sparse variant is in `sparse.py`.
Lesson: `notebooks/basic/07_latent_attention.ipynb`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import Registry
from .attending import attend
from .cache import Step
from .config import LATENT, Config
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
        # [H, ., r] each
        key_up, value_up = weight.split([c.qk_nope_head_dim, c.v_head_dim], 1)
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
