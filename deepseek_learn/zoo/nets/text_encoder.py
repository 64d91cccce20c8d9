r"""A transformer that reads text, small or as large as multilingual-e5-small.

A layer of BERT (Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers
for language understanding", arXiv 1810.04805) normalizes after each sum:

.. math:: y = \mathrm{norm}(x + \mathrm{attention}(x)), \quad
          z = \mathrm{norm}(y + W_2\,\mathrm{gelu}(W_1 y)).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1  # tokens
LOW = -1e4  # the score of padding
WIDTH, HEADS, HIDDEN, POSITIONS, EPS = 384, 12, 1536, 512, 1e-12  # e5-small's
LIMIT = 160  # tokens that a `TextReader` reads


class EncoderLayer(nn.Module):
    """Attention of all tokens to all tokens, and a hidden layer: `[B, T, width]`."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.norm = nn.LayerNorm(width, EPS)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm_2 = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Transform tokens; nobody attends to those where `padding` is true.

        The scores are filled and not added to: INT8 would round a sum with such a number.
        """
        q, k, v = (
            linear(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )  # [B, heads, T, d]
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        chances = scores.masked_fill(padding, LOW).softmax(3)
        attended = self.out((chances @ v).transpose(1, 2).flatten(2))
        x = self.norm(x + self.dropout(attended))
        return self.norm_2(x + self.dropout(self.down(F.gelu(self.up(x)))))


class TextEncoder(nn.Module):
    """Tokens `[B, T]` (int64, padded with 0) → vectors `[B, T, width]`.

    Args:
        tokens: how many tokens there are.
        layers: the number of layers.
        hidden: the width of their hidden layers.
        rank: if given, the table of tokens has this width, and a linear layer expands it.
        positions: the largest T.
    """

    def __init__(
        self,
        tokens: int,
        layers: int,
        hidden: int = HIDDEN,
        rank: int | None = None,
        width: int = WIDTH,
        heads: int = HEADS,
        positions: int = POSITIONS,
    ):
        super().__init__()
        self.tokens = nn.Embedding(tokens, rank or width)
        self.expand = nn.Linear(rank, width) if rank else nn.Identity()
        self.positions = nn.Embedding(positions, width)
        self.norm, self.dropout = nn.LayerNorm(width, EPS), nn.Dropout(0.1)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, hidden) for _ in range(layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x, padding = self.embed(tokens), is_padding(tokens)
        for layer in self.layers:
            x = layer(x, padding)
        return x

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the input of the first layer."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.expand(self.tokens(tokens)) + self.positions(places)
        return self.dropout(self.norm(x))


def is_padding(tokens: Tensor) -> Tensor:
    """Return where padding is, to be compared with scores, `[B, 1, 1, T]`."""
    return (tokens == PAD)[:, None, None, :]


def pooled(x: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean of the vectors of the tokens, `[B, width]`."""
    real = (tokens != PAD)[:, :, None].to(x.dtype)
    return (x * real).sum(1) / real.sum(1).clamp(min=1)


class TextReader(nn.Module):
    """A small encoder that classifies texts and compares them.

    Attributes:
        encoder: the `TextEncoder`.
        head: reads the mean and the maximum of the encoder's vectors.
        meaning: maps their mean to a vector in which similar texts are neighbors.
    """

    def __init__(
        self,
        tokens: int,
        layers: int = 2,
        hidden: int = 512,
        rank: int = 128,
        classes: int = 2,
        meaning: int = 96,
    ):
        super().__init__()
        self.encoder = TextEncoder(tokens, layers, hidden, rank, positions=LIMIT)
        self.head = nn.Linear(2 * WIDTH, classes)
        self.meaning = nn.Linear(WIDTH, meaning)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, `[B, T]` (T at most 160) → `[B, classes]`."""
        return self.classify(self.encoder(tokens), tokens)

    def classify(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return logits, given the encoder's vectors `[B, T, width]`."""
        most = x.masked_fill((tokens == PAD)[:, :, None], LOW).amax(1)
        return self.head(self.dropout(torch.cat([pooled(x, tokens), most], 1)))

    def embed(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return vectors of length 1 to compare texts by, `[B, 96]`."""
        return F.normalize(self.meaning(pooled(x, tokens)), dim=1)


REVIEW_TOKENS = 11_380  # of the tokenizer of `review_reader`


def review_reader() -> TextReader:
    """Return the network of the zoo's `review_reader`."""
    return TextReader(REVIEW_TOKENS)
