"""Grouped-query attention, in which groups of queries share keys and values.

Ainslie et al. 2023, "GQA", arXiv 2305.13245.
Lesson: `notebooks/innovation/05_latent_cache.ipynb`.
"""

import torch
from torch import Tensor, nn

from ...errors import DeepSeekLearnError
from ...lm import Config, attentions
from ...lm.attending import attend
from ...lm.bindings import Room, binds
from ...lm.cache import Cache, Step
from ...lm.cpp.program import Program
from ...lm.latent import linear
from ...lm.rotary import angles, rotate

GROUPED = "grouped_query_attention"
KEY_VALUE_HEADS = 3


@attentions.register(GROUPED)
class GroupedQueryAttention(nn.Module):
    """Grouped-query attention with 3 key-value heads shared by all query heads.

    It maps a tensor of shape `[B, T, hidden_size]` to a tensor of the same shape.

    Attributes:
        kv_proj: the projection of a token to the vector stored in the cache,
            `[B, T, r]`.
        up: the expansion of this vector to keys and values before the rotary embedding,
            `[B, S, 2 * 3 * head_dim]`.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        width = config.num_attention_heads * config.head_dim
        self.q_proj = linear(config.hidden_size, width)
        self.kv_proj = linear(config.hidden_size, 2 * KEY_VALUE_HEADS * config.head_dim)
        self.up: nn.Module = nn.Identity()
        self.o_proj = linear(width, config.hidden_size)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        c, latent = self.config, self.kv_proj(x)  # [B, T, r]
        if step.cache is not None:
            latent = step.cache.append(self.layer, "latent", latent, step)  # [B, S, r]
        # [B, S, 3, head_dim] each
        key, value = self.up(latent).unflatten(2, (2, -1, c.head_dim)).unbind(2)
        turns = step.rotary["main"]
        q = rotate(self.q_proj(x).unflatten(2, (-1, c.head_dim)), turns)
        no_past = x.shape[1] == latent.shape[1]
        if not no_past:  # the cached keys are not rotated yet
            positions = torch.arange(latent.shape[1], device=x.device)[None]
            turns = angles(positions, c.head_dim, c.rope("main"))
        key = rotate(key, turns)
        q, key, value = (heads.transpose(1, 2) for heads in (q, key, value))
        mask = None if no_past else step.causal(latent.shape[1])[:, None]
        output = attend(q, key, value, mask)  # [B, num_heads, T, head_dim]
        return self.o_proj(output.transpose(1, 2).flatten(2))


@binds(GroupedQueryAttention)
def _bind(module: GroupedQueryAttention, program: Program, room: Room) -> None:
    c, dim = module.config, module.config.head_dim
    if not isinstance(module.up, nn.Identity):
        raise DeepSeekLearnError(
            "a model with a latent cache cannot be decoded this way, because its keys "
            "cannot be stored after the rotation."
        )
    turns, queries = room.turns(dim, c.rope("main")), module.q_proj.out_features
    both = room.scratch("qkv", queries + module.kv_proj.out_features)
    program.linear([module.q_proj, module.kv_proj], room.normed, both)
    q, (key, value) = both[:queries].view(-1, dim), both[queries:].view(2, -1, dim)
    program.rotate(q, turns, q)
    program.rotate(key, turns, key)
    keys, values = (room.cache(KEY_VALUE_HEADS, dim) for _ in range(2))
    program.store(key, keys)
    program.store(value, values)
    output = room.scratch("heads", *q.shape)
    program.attend(q, keys, values, output, dim**-0.5)
    program.linear([module.o_proj], output.flatten(), room.x, add=True)

    def take(cache: Cache, length: int) -> None:
        pair = cache.vectors(module.layer, "latent")[0].unflatten(1, (2, -1, dim))
        key, value = pair.unbind(1)  # [S, 3, dim]
        cos, sin = turns[None, :length].unbind(-1)
        turned = rotate(key[None], (cos, sin))[0]
        keys[:, :length] = turned.transpose(0, 1)
        values[:, :length] = value.transpose(0, 1)

    room.takes.append(take)
