r"""A network that reads a mail in two ways and adds what both say.

A `TextReader` reads the first 160 pieces in their order. Its vote is :math:`2p - 1`,
between -1 and 1: a network may be very sure of a kind of mail that it has never seen, and
must not decide alone. A `PieceCounter` counts all pieces; with :math:`c_t` the count of
piece :math:`t`, :math:`r_t` its rarity (inverse document frequency) and :math:`w_t` its
weight,

.. math:: s = \sum_t w_t v_t / \|v\| + b, \quad v_t = r_t\,(1 + \log c_t).

This is a linear model of TF-IDF (Salton and Buckley 1988, "Term-weighting approaches in
automatic text retrieval", Information Processing & Management 24, 513-523), written so that
it runs in an engine.
"""

import torch
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
    """Logits that a mail is wanted or unwanted, `[B, T]` (T at most 640) → `[B, 2]`.

    Attributes:
        text: reads the first pieces in their order.
        counter: counts all pieces.
        scale: the weights of both, `[2]`.
        border: is subtracted from the sum: beyond it, a mail is unwanted.

    Args:
        tokens: how many tokens there are.
    """

    def __init__(self, tokens: int):
        super().__init__()
        self.text, self.counter = TextReader(tokens), PieceCounter(tokens)
        self.scale = nn.Parameter(torch.ones(2))
        self.border = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        score = self.votes(tokens) @ self.scale - self.border
        return torch.stack([-score / 2, score / 2], 1)

    def votes(self, tokens: Tensor) -> Tensor:
        """Return what both say, `[B, 2]`."""
        logits = self.text(tokens[:, :LIMIT])
        vote = torch.tanh((logits[:, 1] - logits[:, 0]) / 2)
        return torch.stack([vote, self.counter(tokens)], 1)


MAIL_TOKENS = 20_000  # of the tokenizer of `mail_reader`


def mail_reader() -> MailReader:
    """Return the network of the zoo's `mail_reader`."""
    return MailReader(MAIL_TOKENS)
