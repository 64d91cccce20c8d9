r"""A network that reads an email in two ways, which must agree.

A `TextReader` reads the first 160 pieces in their order. A `PieceCounter` counts all
pieces; with :math:`c_t` the count of piece :math:`t`, :math:`r_t` its rarity (inverse
document frequency) and :math:`w_t` its weight,

.. math:: s = \sum_t w_t v_t / \|v\| + b, \quad v_t = r_t\,(1 + \log c_t).

This is a linear model of TF-IDF (Salton and Buckley 1988, "Term-weighting approaches in
automatic text retrieval", Information Processing & Management 24, 513-523), written so that
it runs in an engine. Each has its own border, and an email is unwanted if it is beyond
both: a network may be very sure of a kind of mail that it has never seen, and must not
decide alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .text_encoder import LIMIT, PAD, TextReader

TOKENS = 640  # that a `MailReader` reads


class PieceCounter(nn.Module):
    """Tokens `[B, T]` → log-odds `[B]`, linear in the counts of the pieces.

    Args:
        tokens: how many tokens there are.
    """

    def __init__(self, tokens: int):
        super().__init__()
        self.rarity = nn.Parameter(torch.zeros(tokens))
        self.weight = nn.Parameter(torch.zeros(tokens))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        real = (tokens != PAD).to(self.weight.dtype)
        same = tokens[:, :, None] == tokens[:, None, :]
        count = same.sum(2).to(self.weight.dtype)
        value = self.rarity[tokens] * (1 + count.log())  # once per occurrence
        length = (real * value.square() / count).sum(1).clamp(min=1e-12).sqrt()
        score = (real * self.weight[tokens] * value / count).sum(1)
        return score / length + self.bias


class MailReader(nn.Module):
    """Logits that an email is wanted or unwanted, `[B, T]` (T at most 640) → `[B, 2]`.

    Attributes:
        text: reads the first pieces in their order.
        counter: counts all pieces.
        border: of the log-odds of both, `[2]`.
        scale: what their distances from the border are multiplied by, `[2]`.

    Args:
        tokens: how many tokens there are.
    """

    def __init__(self, tokens: int):
        super().__init__()
        self.text, self.counter = TextReader(tokens), PieceCounter(tokens)
        self.border = nn.Parameter(torch.zeros(2))
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, tokens: Tensor) -> Tensor:
        score = self.margins(tokens).amin(1)
        return torch.stack([-score / 2, score / 2], 1)

    def margins(self, tokens: Tensor) -> Tensor:
        """Return by how much the emails are beyond both borders, `[B, 2]`."""
        return (self.odds(tokens) - self.border) * self.scale

    def odds(self, tokens: Tensor) -> Tensor:
        """Return the log-odds of the text reader and of the counter, `[B, 2]`.

        The text reader always sees 160 tokens, so that an exported graph has no other size.
        """
        first = F.pad(tokens, (0, LIMIT), value=PAD)[:, :LIMIT]
        logits = self.text(first)
        return torch.stack([logits[:, 1] - logits[:, 0], self.counter(tokens)], 1)


MAIL_TOKENS = 11_372  # of the tokenizer of `mail_reader`


def mail_reader() -> MailReader:
    """Return the network of the zoo's `mail_reader`."""
    return MailReader(MAIL_TOKENS)
