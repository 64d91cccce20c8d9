r"""DeepSeek-V4's hybrid attention: a window of recent tokens plus a compressed past.

Every layer attends to the last `sliding_window` tokens, which are not compressed. Most
layers also attend to compressed entries that cover the whole past, including the tokens
in the window. Each entry represents `rate` tokens as a weighted mean with separate
weights for each channel:

.. math:: e_w = \mathrm{norm}\Big(\sum_{j \in window\ w}
          \mathrm{softmax}_j(z_j + b_j) \odot c_j\Big), \quad c = W_{KV}\,x,\ z = W_Z\,x

(DeepSeek-AI 2026, "DeepSeek-V4", arXiv 2606.19348, §2.3). *Heavily compressed* layers
use a large rate and attend to all entries. *Compressed sparse* layers use a small rate
and windows that overlap by half, and an indexer selects `index_topk` entries for each
token. A single vector serves as both the key and the value for all heads, so the
rotation of the values has to be undone in the output.
Lesson: `notebooks/innovation/03_hybrid_attention.ipynb`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import Step
from .config import COMPRESSED_SPARSE, HEAVILY_COMPRESSED, SLIDING, Config
from .latent import RMSNorm, attention, attentions, learning, linear
from .rotary import angles, rotate
from .sparse import Indexer, best, index_scores


def rotate_tail(x: Tensor, turn: tuple[Tensor, Tensor], back: bool = False) -> Tensor:
    """Rotate the last channels of `x`, with one angle for each pair of channels.

    If `back` is True, the rotation is undone.
    """
    cos, sin = turn
    plain, rope = x.split([x.shape[-1] - 2 * cos.shape[-1], 2 * cos.shape[-1]], -1)
    return torch.cat([plain, rotate(rope, (cos, -sin if back else sin))], -1)


class WindowPooling(nn.Module):
    """Compresses each window of tokens into one entry.

    The tokens have the shape `[B, T, hidden_size]` and the entries `[B, W, dim]`. With
    `overlap`, an entry also covers the previous window, using separate channels.
    """

    def __init__(self, config: Config, layer: int, kind: str, dim: int, name: str):
        super().__init__()
        self.config, self.layer, self.dim, self.name = config, layer, dim, name
        self.rate = config.compress_rates[kind]
        self.overlap = int(kind == COMPRESSED_SPARSE)
        width = dim * (1 + self.overlap)
        self.kv_proj = linear(config.hidden_size, width)
        self.gate_proj = linear(config.hidden_size, width)
        self.position_bias = nn.Parameter(torch.zeros(self.rate, width))
        self.kv_norm = RMSNorm(dim, eps=config.rms_norm_eps)

    def entries(self, x: Tensor, step: Step) -> Tensor:
        """Return all entries so far as a tensor of shape `[B, W, dim]`.

        Some of them may belong to windows that are still incomplete; see `full`.
        """
        both = torch.cat([self.kv_proj(x), self.gate_proj(x)], -1)
        rows, first = self._rows(both, step)  # [B, n (+ 1), rate, 2 width]
        content, gate = rows.chunk(2, -1)
        gate = gate + self.position_bias
        if self.overlap:  # the previous window, then this one: [B, n, 2 rate, dim]
            content, gate = (
                torch.cat([row[:, :-1, :, : self.dim], row[:, 1:, :, self.dim :]], 2)
                for row in (content, gate)
            )
            is_first = first[:, :, None, None] == 0  # there is no previous window
            previous = torch.arange(2 * self.rate, device=x.device) < self.rate
            gate = gate.masked_fill(is_first & previous[:, None], float("-inf"))
        weights = gate.float().softmax(2).to(content)
        entries = self.kv_norm((content * weights).sum(2))  # [B, n, dim]
        rope = self.config.rope("compress")
        turn = angles(first * self.rate, self.config.qk_rope_head_dim, rope)
        entries = rotate_tail(entries, turn)
        if step.cache is None:
            return entries
        size = step.cache.capacity // self.rate + 1
        buffer = step.cache.buffer(self.layer, self.name + " entries", entries, size)
        buffer.put(first, entries, first < size)
        return buffer.values[:, : step.cache.end // self.rate]

    def _rows(self, both: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Group the tokens by window.

        Returns the grouped tokens, of shape `[B, n + overlap, rate, C]`, and the
        indices of the windows, of shape `[B, n]`.
        """
        batch, new, start = *both.shape[:2], step.positions[:, :1]
        if step.cache is None:
            count, padding = -(-new // self.rate), self.overlap * self.rate
            rows = F.pad(both, (0, 0, padding, count * self.rate - new))
            first = torch.arange(count, device=both.device).expand(batch, -1)
            return rows.unflatten(1, (-1, self.rate)), first
        # With a cache, the first window may have begun before these tokens. As an
        # example, take rate 4, overlap 1 and ahead 2, with nine tokens read so far and
        # one new token.
        # - Since start = 9 and new = 1, there are count = 2 windows, numbers 2 and 3.
        #   They contain tokens 8 ... 15, the most that a single token can affect.
        # - Window 2 also reads window 1, so position = 4 ... 15.
        # - The ring buffer has size = 10 slots and stores position p in slot p mod 10.
        #   Slot 10 is for padding. The new token is appended to the buffer at index 11.
        # - Tokens 4 ... 8 are in slots 4 ... 8, and token 9 is at index 11. Tokens
        #   10 ... 15 do not exist yet. They also read index 11, and `full` masks their
        #   windows.
        # Later, token 12 overwrites token 2 in slot 2. Token 2 is not needed by then,
        # because the 10 slots hold two windows and the tokens that may be rewound.
        count = (new - 1) // self.rate + 2
        first = start // self.rate + torch.arange(count, device=both.device)
        size = 2 * self.rate + step.cache.ahead
        buffer = step.cache.buffer(self.layer, self.name + " tokens", both, size)
        length = (count + self.overlap) * self.rate
        position = (first[:, :1] - self.overlap) * self.rate  # [B, 1]
        position = position + torch.arange(length, device=both.device)  # [B, L]
        # old tokens are in the buffer (size + 1 slots), and new tokens come after it
        new_slot = size + 1 + position - start
        # positions before the first window are negative, but % keeps the slot valid
        slot = torch.where(position < start, position % size, new_slot)
        values = torch.cat([buffer.values, both], 1)  # [B, size + 1 + T, C]
        slot = slot.clamp(max=values.shape[1] - 1)[..., None]  # beyond the new tokens
        rows = values.gather(1, slot.expand(-1, -1, both.shape[2]))  # [B, L, C]
        # write last, because the new tokens overwrite slots that were just read
        buffer.put(step.positions, both, step.real)
        return rows.unflatten(1, (-1, self.rate)), first

    def full(self, entries: Tensor, step: Step) -> Tensor:
        """Return a mask of the windows that are complete and therefore visible.

        The mask has the shape `[B, T, W]`, with one row per token.
        """
        numbers = torch.arange(entries.shape[1], device=entries.device)
        return numbers < (step.positions[..., None] + 1) // self.rate


class Compressor(WindowPooling):
    """Computes the entries and selects the entries that each token may attend to."""

    def __init__(self, config: Config, layer: int, kind: str):
        super().__init__(config, layer, kind, config.head_dim, "window")
        if self.overlap:
            self.indexer = EntryIndexer(config, layer, kind)

    def forward(self, x: Tensor, q_latent: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the entries and the mask of visible entries for each token.

        The entries have the shape `[B, W, dim]` and the mask has the shape `[B, T, W]`.
        """
        entries = self.entries(x, step)
        if self.overlap:
            return entries, self.indexer(x, q_latent, step)
        return entries, self.full(entries, step)


class EntryIndexer(WindowPooling, Indexer):
    """Scores a compressor's entries, using smaller entries of its own."""

    def __init__(self, config: Config, layer: int, kind: str):
        super().__init__(config, layer, kind, config.index_head_dim, "index")
        heads = config.index_n_heads * config.index_head_dim
        self.q_b_proj = linear(config.query_rank, heads)
        weights = linear(config.hidden_size, config.index_n_heads)
        self.scorer = nn.ModuleDict({"weights_proj": weights})  # the reference's name

    def forward(self, x: Tensor, q_latent: Tensor, step: Step) -> Tensor:
        """Return a mask of the `index_topk` best entries for each token.

        The mask has the shape `[B, T, W]`.
        """
        # the indexer learns from its own loss; it must not change what the model reads
        x, q_latent = x.detach(), q_latent.detach()
        entries = self.entries(x, step)
        q = self.q_b_proj(q_latent).unflatten(2, (self.config.index_n_heads, -1))
        q = rotate_tail(q, step.rotary["compress"])
        scores = index_scores(q, entries, self.scorer["weights_proj"](x))  # [B, T, W]
        full = self.full(entries, step)
        scores = scores.masked_fill(~full, float("-inf"))
        self.keep(scores)
        indices = best(scores, self.config.index_topk)  # [B, T, k]
        # early tokens have fewer than `index_topk` complete windows: mask the rest again
        return full & torch.zeros_like(full).scatter(2, indices, True)


@attentions.register(SLIDING)
@attentions.register(COMPRESSED_SPARSE)
@attentions.register(HEAVILY_COMPRESSED)
class HybridAttention(nn.Module):
    """A hybrid attention layer.

    The input and the output have the shape `[B, T, hidden_size]`. The lesson
    `innovation/03_hybrid_attention` explains this layer.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> kinds = ("sliding_attention", "compressed_sparse_attention")
    >>> config = lm.Config(layer_types=kinds, num_hidden_layers=2, q_lora_rank=32)
    >>> lm.LanguageModel(config)(torch.randint(256, (1, 16))).shape
    torch.Size([1, 16, 256])
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        c, heads, kind = config, config.num_attention_heads, config.attention(layer)
        self.turn = "main" if kind == SLIDING else "compress"
        self.q_a_proj = linear(c.hidden_size, c.query_rank)
        self.q_a_norm = RMSNorm(c.query_rank, eps=c.rms_norm_eps)
        self.q_b_proj = linear(c.query_rank, heads * c.head_dim)
        self.kv_proj = linear(c.hidden_size, c.head_dim)
        self.kv_norm = RMSNorm(c.head_dim, eps=c.rms_norm_eps)
        group = heads * c.head_dim // c.o_groups
        self.o_a_proj = linear(group, c.o_groups * c.o_lora_rank)  # one per group
        self.o_b_proj = linear(c.o_groups * c.o_lora_rank, c.hidden_size)
        self.sinks = nn.Parameter(torch.zeros(heads))  # lets a head attend to nothing
        if kind != SLIDING:
            self.compressor = Compressor(c, layer, kind)
        self.indexed = kind == COMPRESSED_SPARSE

    def forward(self, x: Tensor, step: Step) -> Tensor:
        c, turn = self.config, step.rotary[self.turn]
        # 1. Queries of all heads, and one vector per token that is both key and value.
        q_latent = self.q_a_norm(self.q_a_proj(x))
        q = self.q_b_proj(q_latent).unflatten(2, (c.num_attention_heads, -1))
        q = rotate_tail(F.rms_norm(q, q.shape[-1:], eps=c.rms_norm_eps), turn)
        kv = rotate_tail(self.kv_norm(self.kv_proj(x)), turn)  # [B, T, head_dim]
        # 2. Attend to the recent tokens and, in most layers, to the compressed past.
        keys, mask = self._window(kv, step)
        if self.turn == "compress":
            entries, visible = self.compressor(x, q_latent, step)
            keys = torch.cat([keys, entries], 1)  # [B, K + W, head_dim]
            mask = torch.cat([mask, visible], 2)  # [B, T, K + W]
        weights = attention(q, keys, mask, c.head_dim**-0.5, self.sinks)  # [B, T, H, .]
        if self.indexed and learning(self):
            window = keys.shape[1] - visible.shape[2]
            self.compressor.indexer.learn(weights[..., window:], visible)
        heads = weights.flatten(1, 2) @ keys  # [B, T H, d]
        heads = heads.unflatten(1, q.shape[1:3])  # [B, T, H, d]
        # 3. The values were rotated with the keys: turn their sum back by the position of
        # the query, which leaves each value turned by its distance alone.
        groups = rotate_tail(heads, turn, back=True).flatten(2)  # [B, T, H d]
        # 4. Project each group of heads on its own, then all groups together.
        groups = groups.unflatten(2, (c.o_groups, -1))  # [B, T, G, H d / G]
        weight = self.o_a_proj.weight.unflatten(0, (c.o_groups, -1))
        return self.o_b_proj(torch.einsum("btgi,goi->btgo", groups, weight).flatten(2))

    def _window(self, new: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the vectors of the recent tokens and the mask for attending to them.

        The vectors have the shape `[B, K, d]` and the mask has the shape `[B, T, K]`.
        """
        keys, positions, start = new, step.positions, step.positions[:, :1]
        if step.cache is not None:
            size = self.config.sliding_window - 1 + step.cache.ahead
            buffer = step.cache.buffer(self.layer, "recent", new, size)
            keys = torch.cat([buffer.values[:, :size], new], 1)
            positions = torch.cat([buffer.held(start), positions], 1)
            buffer.put(step.positions, new, step.real)
        distance = step.positions[..., None] - positions[:, None]  # [B, T, K]
        mask = (distance >= 0) & (distance < self.config.sliding_window)
        return keys, mask & (positions >= 0)[:, None]  # negative: empty slot
