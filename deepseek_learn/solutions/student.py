"""A small encoder that begins as a part of a large one and learns from a teacher.

`begin` cuts the first layers out of multilingual-e5-small: only the pieces of text that
occur in the training texts remain, their vectors are projected onto the directions in which
they differ most, and each layer keeps the hidden units with the largest weights. `learn`
trains it on what the teacher says about the training texts (Hinton et al. 2015, "Distilling
the knowledge in a neural network", arXiv 1503.02531). `learn_meanings` then fits a linear
map from its vectors to the teacher's, for comparing texts; the encoder stays as it is.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import TextDataset
from ..data.chinese import normalize
from ..zoo import multilingual_e5
from ..zoo.nets.text_encoder import (
    LIMIT,
    PAD,
    UNKNOWN,
    WIDTH,
    EncoderLayer,
    TextEncoder,
    TextReader,
    pooled,
)
from .teacher import BATCH, batches, cut, half, optimized, padded, step

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EPOCHS, LR = 6, 3e-4
HARD = 0.3  # the weight of the labels, of which the teacher's answers have the rest
SMOOTHING, RIDGE = 0.1, 1.0  # of the labels; of the linear map, per text
LOST = 0.05  # of the tokens, which become unknown in training
SPECIAL = [("<pad>", 0.0), ("<unk>", 0.0)]
Change = Callable[[str, np.random.Generator], str]


class Tokens(TextDataset):
    """Texts as a reader's tokens. A batch is as long as its longest text."""

    def _values(self, stored: Tensor) -> Tensor:
        used = (stored != PAD).reshape(-1, stored.shape[-1]).any(0)
        return stored[..., : max(1, int(used.sum()))].long()


def small_tokenizer(texts: Sequence[str], least: int = 1) -> "Tokenizer":
    """Return e5's tokenizer with only those pieces that occur in some texts.

    Args:
        least: how often they must occur. Single characters always remain.
    """
    file = multilingual_e5.E5File()
    whole = multilingual_e5.unigram(file.pieces)
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(whole.encode(normalize(text)).ids)
    known = dict(file.pieces)
    often = [token for token, count in counts.most_common() if count >= least]
    pieces = [file.pieces[token][0] for token in often]
    letters = sorted({letter for text in texts for letter in normalize(text)})
    pieces += [letter for letter in letters if letter in known]
    unique = [each for each in dict.fromkeys(pieces) if each not in dict(SPECIAL)]
    return multilingual_e5.unigram(
        [*SPECIAL, *((piece, known[piece]) for piece in unique)]
    )


def begin(tokenizer: "Tokenizer", texts: Sequence[str], **sizes: int) -> TextReader:
    """Return a reader whose encoder is a part of multilingual-e5-small.

    Args:
        texts: those by whose tokens the directions of the projection are chosen.
        sizes: passed to `TextReader`.
    """
    large, whole = multilingual_e5.load()
    size = tokenizer.get_vocab_size()
    reader = TextReader(size, **sizes)
    names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    rows = torch.tensor([whole.token_to_id(name) for name, _ in names])
    counts = torch.ones(size)
    for text in texts:
        tokens = torch.tensor(tokenizer.encode(normalize(text)).ids, dtype=torch.int64)
        counts += torch.bincount(tokens, minlength=size)
    with torch.no_grad():
        _project(reader.encoder, large.tokens.weight[rows], counts.sqrt())
        reader.encoder.positions.weight.copy_(large.positions.weight[:LIMIT])
        reader.encoder.norm.load_state_dict(large.norm.state_dict())
        for small, layer in zip(reader.encoder.layers, large.layers, strict=False):
            assert isinstance(layer, EncoderLayer)
            assert isinstance(small, EncoderLayer)
            _narrow(layer, small)
        nn.init.zeros_(reader.head.weight)
    return reader


def _project(encoder: TextEncoder, vectors: Tensor, weight: Tensor) -> None:
    """Store vectors of tokens by their first principal components."""
    weight = weight / weight.sum()
    mean = (weight[:, None] * vectors).sum(0)
    centered = vectors - mean
    assert isinstance(encoder.expand, nn.Linear)
    _, directions = torch.linalg.eigh((weight[:, None] * centered).T @ centered)
    directions = directions[:, -encoder.tokens.embedding_dim :]
    encoder.tokens.weight.copy_(centered @ directions)
    encoder.expand.weight.copy_(directions)
    encoder.expand.bias.copy_(mean)


def _narrow(layer: EncoderLayer, small: EncoderLayer) -> None:
    """Copy a layer with only the hidden units that have the largest weights."""
    size = small.up.out_features
    weight = layer.up.weight.norm(dim=1) * layer.down.weight.norm(dim=0)
    units = weight.topk(size).indices.sort().values
    state = layer.state_dict()
    state["up.weight"], state["up.bias"] = (
        state["up.weight"][units],
        state["up.bias"][units],
    )
    state["down.weight"] = state["down.weight"][:, units]
    small.load_state_dict(state)


def learn(
    reader: TextReader,
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray | None,
    *,
    change: Change | None = None,
    epochs: int = EPOCHS,
    lr: float = LR,
    seed: int = 0,
) -> TextReader:
    """Train a reader, and return it in evaluation mode.

    Args:
        labels: 0 or 1 for every text.
        logits: the teacher's for every text; None to learn from the labels only.
        change: changes a text before it is read, anew in each epoch.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chance = labels * (1 - SMOOTHING) + SMOOTHING / 2
    if logits is not None:
        chance = HARD * chance + (1 - HARD) / (1 + np.exp(-logits))
    target = torch.tensor(np.stack([1 - chance, chance], 1), dtype=torch.float32)
    groups = [
        {"params": [*reader.encoder.parameters()], "lr": lr},
        {"params": [*reader.head.parameters()], "lr": 10 * lr},
    ]
    optimizer, schedule = optimized(groups, epochs * -(-len(texts) // BATCH))
    reader.train()
    for _ in range(epochs):
        said = texts if change is None else [change(text, rng) for text in texts]
        tokens = encode(tokenizer, said)
        lengths = np.array([len(each) for each in tokens])
        for rows in batches(lengths, BATCH, rng):
            x = padded([tokens[row] for row in rows])
            lost = torch.rand(x.shape) < LOST
            x = torch.where(lost & (x != PAD), UNKNOWN, x)
            with half():
                states = reader.encoder(x)
            answers = reader.classify(states.float(), x)
            loss = F.cross_entropy(answers, target[rows])
            step(reader, loss, optimizer, schedule)
    return reader.eval()


def learn_meanings(
    reader: TextReader, tokenizer: "Tokenizer", texts: Sequence[str], meanings: Tensor
) -> None:
    """Fit the linear map to a teacher's vectors `[N, d]` of some texts, in place.

    Its 96 numbers are the first principal components of the teacher's vectors.
    """
    mine = _pooled(reader, tokenizer, texts).double()
    mean, their = mine.mean(0), meanings.double()
    size = reader.meaning.out_features
    _, directions = torch.linalg.eigh(their.T @ their)
    their = their @ directions[:, -size:]
    centered = mine - mean
    scale = centered.square().mean()
    gram = centered.T @ centered + RIDGE * scale * torch.eye(len(mean))
    weight = torch.linalg.solve(gram, centered.T @ (their - their.mean(0)))
    with torch.no_grad():
        reader.meaning.weight.copy_(weight.T)
        reader.meaning.bias.copy_(their.mean(0) - mean @ weight)


def _pooled(reader: TextReader, tokenizer: "Tokenizer", texts: Sequence[str]) -> Tensor:
    tokens = encode(tokenizer, texts)
    result = torch.zeros(len(texts), WIDTH)
    with torch.inference_mode():
        for rows in batches(np.array([len(each) for each in tokens]), 64):
            x = padded([tokens[row] for row in rows])
            result[rows] = pooled(reader.encoder(x), x)
    return result


def encode(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts as a reader reads them: at most 160, at least 1."""
    normal = [normalize(text) for text in texts]
    return [
        cut(each.ids, LIMIT) or [UNKNOWN]
        for each in tokenizer.encode_batch_fast(normal)
    ]


def answers(
    reader: nn.Module, tokenizer: "Tokenizer", texts: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return the logits `[N, classes]` and the vectors `[N, 96]` of texts."""
    assert isinstance(reader, TextReader)
    tokens = encode(tokenizer, texts)
    logits = torch.zeros(len(texts), reader.head.out_features)
    meanings = torch.zeros(len(texts), reader.meaning.out_features)
    with torch.inference_mode():
        for rows in batches(np.array([len(each) for each in tokens]), BATCH):
            x = padded([tokens[row] for row in rows])
            states = reader.encoder(x)
            logits[rows] = reader.classify(states, x)
            meanings[rows] = reader.embed(states, x)
    return logits, meanings
