r"""A plain decoder-only transformer, used as a baseline for other language models.

As in GPT-2, each block normalizes its input :math:`x` before each of two updates:

.. math:: x \leftarrow x + W_o\,\mathrm{attention}(W_{qkv}\,\mathrm{norm}(x)), \quad
          x \leftarrow x + W_{down}\,\phi(W_{up}\,\mathrm{norm}(x))

The attention is causal multi-head attention (Vaswani et al. 2017, "Attention is all you
need", arXiv 1706.03762).
"""

import torch
from torch import Tensor, nn

from .attending import attend

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class KeyValueCache:
    """The keys and values of the tokens read so far.

    Each layer stores a pair of tensors of shape `[B, heads, T, dim/heads]`. A new cache
    is empty. When a `Decoder` is called with a cache, its input contains only the
    tokens that follow the cached ones.
    """

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Return T, the number of tokens read so far."""
        return self.pairs[0][0].shape[2] if self.pairs else 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values to a layer and return all of its keys and values.

        All four tensors have the shape `[B, heads, T, dim/heads]`.
        """
        if layer in self.pairs:
            old_key, old_value = self.pairs[layer]
            key, value = torch.cat([old_key, key], 2), torch.cat([old_value, value], 2)
        self.pairs[layer] = key, value
        return key, value


class CausalSelfAttention(nn.Module):
    """Causal self-attention with `heads` heads.

    The input and the output have the shape `[B, T, dim]`.
    """

    def __init__(self, dim: int, heads: int, layer: int):
        super().__init__()
        self.heads, self.layer = heads, layer
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # [B, T, 3, heads, d]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, T, d]
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # [B, heads, S, d], S = past + T
        new, total, mask = q.shape[2], k.shape[2], None
        if 1 < new < total:  # is_causal would align the new tokens with the oldest ones
            mask = x.new_ones(new, total, dtype=torch.bool).tril(total - new)
        y = attend(q, k, v, mask)
        return self.out(y.transpose(1, 2).flatten(2))  # [B, T, dim]


class TransformerBlock(nn.Module):
    """A transformer block with attention and a two-layer MLP for each token.

    The input and the output have the shape `[B, T, dim]`.
    """

    def __init__(self, dim: int, heads: int, hidden: int, activation: str, layer: int):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, heads, layer)
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        x = x + self.attention(self.norm_attention(x), cache)
        return x + self.down(self.activation(self.up(self.norm_mlp(x))))


class Decoder(nn.Module):
    """A decoder-only transformer that predicts the next token at every position.

    Args:
        vocab: the vocabulary size; 256 for bytes.
        dim: the width of the model, which must be a multiple of `heads`.
        context: the maximum number of tokens in a sequence.
        hidden: the hidden width of the MLPs; by default, 4 * dim.
        activation: "relu", which makes most activations zero, or "gelu".

    Raises:
        ValueError: if an argument or the input is invalid.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.Decoder(vocab=256, dim=64, layers=2)
    >>> model(torch.tensor([[5, 7, 9]])).shape  # B, T, vocabulary
    torch.Size([1, 3, 256])
    """

    def __init__(
        self,
        vocab: int = 256,
        dim: int = 128,
        layers: int = 3,
        heads: int = 4,
        context: int = 128,
        hidden: int | None = None,
        activation: str = "relu",
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads; got {dim} and {heads}.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be relu or gelu; got {activation!r}.")
        self.context = context
        self.token, self.position = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
        sizes = dim, heads, hidden or 4 * dim, activation
        self.blocks = nn.ModuleList(
            TransformerBlock(*sizes, layer) for layer in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocab, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Compute the logits for the token that follows each position.

        Args:
            tokens: an int64 tensor of shape `[B, T]`.
            cache: a cache whose sequences the tokens continue; None to start new ones.

        Returns:
            A tensor of shape `[B, T, vocab]`.
        """
        if tokens.dtype != torch.int64 or tokens.dim() != 2:
            got = f"{tokens.dtype} {list(tokens.shape)}"
            raise ValueError(f"tokens must be int64 with shape [B, T]; got {got}.")
        past, new = 0 if cache is None else len(cache), tokens.shape[1]
        if not 1 <= new <= self.context - past:
            raise ValueError(
                f"tokens must have a length from 1 to {self.context - past} (the "
                f"context is {self.context}, and {past} tokens are in the cache); got "
                f"{new}."
            )
        positions = torch.arange(past, past + new, device=tokens.device)
        x = self.token(tokens) + self.position(positions)  # [B, T, dim]
        for block in self.blocks:
            x = block(x, cache)
        return self.head(self.norm(x))
