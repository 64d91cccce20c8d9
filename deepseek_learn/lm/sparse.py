r"""Sparse attention: a lightweight indexer selects the tokens to attend to.

Latent attention reads the cached vectors of all past tokens, and its cost grows with their
number. The indexer scores them with few and small heads, and only the `index_topk` best are
attended to (DeepSeek-AI 2025, "DeepSeek-V3.2", arXiv 2512.02556).
Lesson: `notebooks/basic/07_latent_attention.ipynb`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import Step
from .config import SPARSE, Config
from .latent import LatentAttention, attentions, learning, linear
from .rotary import rotate


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
