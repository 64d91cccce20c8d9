r"""Grouped-query attention, in which groups of query heads share keys and values.

.. math:: y = W_o\,[\mathrm{softmax}(s\,q_h^\top K_{g(h)})\,V_{g(h)}]_h, \quad
          g(h) = \lfloor h\,G / H \rfloor

(Ainslie et al. 2023, "GQA", arXiv 2305.13245). With G = 1 group, this is multi-query
attention; with G = H groups, multi-head attention. It is the attention of Llama, Qwen,
Mistral and Gemma. Some of them normalize each query and key (QK-norm), and some of their
layers attend to the last `sliding_window` tokens only.
Lesson: `notebooks/innovation/05_latent_cache.ipynb`.
"""

import torch
from torch import Tensor, nn

from .attending import attend
from .cache import Step
from .config import GROUPED, WINDOWED, Config
from .latent import RMSNorm, attentions
from .rotary import angles, rotate


@attentions.register(GROUPED)
@attentions.register(WINDOWED)
class GroupedQueryAttention(nn.Module):
    """A grouped-query attention layer.

    It maps a tensor of shape `[B, T, hidden_size]` to a tensor of the same shape.

    Attributes:
        kv_proj: the projection of a token to the vector stored in the cache,
            `[B, T, r]`.
        up: the expansion of this vector to keys and values before the rotary embedding,
            `[B, S, 2 * num_key_value_heads * head_dim]`.
        window: the number of tokens attended to, or None for the whole past.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> config = lm.Config(
    ...     layer_types=("grouped_query_attention",), num_hidden_layers=1,
    ...     num_key_value_heads=2, head_dim=32, qk_rope_head_dim=32,
    ... )
    >>> lm.LanguageModel(config)(torch.randint(256, (1, 16))).shape
    torch.Size([1, 16, 256])
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer, c = config, layer, config
        width = c.num_attention_heads * c.head_dim
        stored = 2 * c.key_value_heads * c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, width, bias=c.attention_bias)
        self.kv_proj = nn.Linear(c.hidden_size, stored, bias=c.attention_bias)
        self.up: nn.Module = nn.Identity()
        self.o_proj = nn.Linear(width, c.hidden_size, bias=c.attention_out_bias)
        if c.qk_norm:
            self.q_norm = RMSNorm(c.head_dim, eps=c.rms_norm_eps)
            self.k_norm = RMSNorm(c.head_dim, eps=c.rms_norm_eps)
        windowed = c.attention(layer) == WINDOWED
        self.window = c.sliding_window if windowed else None
        self.rope = "sliding" if windowed else "main"
        self.scale = (c.query_pre_attn_scalar or c.head_dim) ** -0.5

    def forward(self, x: Tensor, step: Step) -> Tensor:
        c, turns = self.config, step.rotary[self.rope]
        q = self.q_proj(x).unflatten(2, (-1, c.head_dim))  # [B, T, H, head_dim]
        q = rotate(self.q_norm(q) if c.qk_norm else q, turns)
        stored = self.kv_proj(x)  # [B, T, r]
        if step.cache is not None:
            stored = step.cache.append(self.layer, "latent", stored, step)  # [B, S, r]
        # [B, S, G, head_dim] each
        key, value = self.up(stored).unflatten(2, (2, -1, c.head_dim)).unbind(2)
        new, total = x.shape[1], stored.shape[1]
        if new < total:  # the cached keys are not rotated yet
            positions = torch.arange(total, device=x.device)[None]
            turns = angles(positions, c.head_dim, c.rope(self.rope))
        key = rotate(self.k_norm(key) if c.qk_norm else key, turns)
        q, key, value = (heads.transpose(1, 2) for heads in (q, key, value))
        output = attend(q, key, value, self._mask(step, new, total), self.scale)
        return self.o_proj(output.transpose(1, 2).flatten(2))

    def _mask(self, step: Step, new: int, total: int) -> Tensor | None:
        """Return which keys each token attends to, or None for all up to its own.

        The mask has the shape `[B, 1, T, S]`.
        """
        if self.window is not None and self.window < total:
            keys = torch.arange(total, device=step.ids.device)
            recent = keys > step.positions[..., None] - self.window
            return (step.causal(total) & recent)[:, None]
        return step.causal(total)[:, None] if new < total else None
