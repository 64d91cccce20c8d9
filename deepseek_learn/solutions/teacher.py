"""A large pretrained encoder that learns to classify texts, to teach a small one.

The encoder is multilingual-e5-small (`zoo.multilingual_e5`). Its lower half stays as it is
and runs once; the upper half is trained.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.chinese import normalize
from ..zoo import multilingual_e5
from ..zoo.nets.text_encoder import LIMIT, PAD, WIDTH, is_padding, pooled

FROZEN, PREFIX = 6, "query: "  # layers; what a text begins with
EPOCHS, BATCH, LR, SMOOTHING = 2, 32, 1e-4, 0.1
DECAY = 0.9  # of the learning rate from one layer to the one below
WARM_UP = 0.06  # the part of the steps in which the learning rate rises


class Teacher:
    """The encoder, and what it makes of some texts.

    Attributes:
        meanings: a vector of length 1 per text, `[N, 384]`, the mean of all of them
            subtracted: close for texts that say similar things.

    Args:
        texts: all texts that will be learned from or classified.

    Raises:
        MissingPackageError, DamagedFileError: see `multilingual_e5.load`.
    """

    def __init__(self, texts: Sequence[str]):
        self.model, tokenizer = multilingual_e5.load()
        self.tokens = [
            np.array(
                [
                    multilingual_e5.START,
                    *cut(tokenizer.encode(PREFIX + normalize(text)).ids, LIMIT - 2),
                    multilingual_e5.END,
                ]
            )
            for text in texts
        ]
        self.lengths = np.array([len(each) for each in self.tokens])
        self._states: list[Tensor] = [torch.empty(0)] * len(texts)
        self.meanings = torch.zeros(len(texts), WIDTH)
        with torch.no_grad(), half():
            for rows in batches(self.lengths, 64):
                tokens = padded([self.tokens[row] for row in rows])
                x, padding = self.model.embed(tokens), is_padding(tokens)
                for number, layer in enumerate(self.model.layers):
                    x = layer(x, padding)
                    if number == FROZEN - 1:
                        for row, state in zip(rows, x.bfloat16(), strict=True):
                            self._states[row] = state[: self.lengths[row]].clone()
                self.meanings[rows] = pooled(x.float(), tokens)
        self.meanings = F.normalize(self.meanings - self.meanings.mean(0), dim=1)

    def learn(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        *,
        asked: np.ndarray | None = None,
        epochs: int = EPOCHS,
        seed: int = 0,
    ) -> np.ndarray:
        """Learn from some of the texts, and return logits, `[N]`.

        Args:
            rows: the positions of the texts to learn from.
            labels: 0 or 1 by position; only those of `rows` are looked at.
            asked: the positions of the texts whose logits are needed (all by default);
                those of the others are 0.
        """
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        top = copy.deepcopy(self.model.layers[FROZEN:])
        head = nn.Linear(WIDTH, 1)
        nn.init.zeros_(head.weight)
        groups = [{"params": [*head.parameters()], "lr": 10 * LR}]
        for depth, layer in enumerate(reversed(top)):
            groups.append({"params": [*layer.parameters()], "lr": LR * DECAY**depth})
        model = nn.ModuleList([*top, head])
        steps = epochs * -(-len(rows) // BATCH)
        optimizer, schedule = optimized(groups, steps)
        model.train()
        for _ in range(epochs):
            for places in batches(self.lengths[rows], BATCH, rng):
                chosen = rows[places]
                target = torch.tensor(labels[chosen], dtype=torch.float32)
                target = target * (1 - SMOOTHING) + SMOOTHING / 2
                with half():
                    logits = self._logits(top, head, chosen)
                loss = F.binary_cross_entropy_with_logits(logits, target)
                step(model, loss, optimizer, schedule)
        model.eval()
        result = np.zeros(len(self.tokens))
        asked = np.arange(len(self.tokens)) if asked is None else asked
        with torch.no_grad(), half():
            for places in batches(self.lengths[asked], 64):
                chosen = asked[places]
                result[chosen] = self._logits(top, head, chosen).numpy()
        return result

    def _logits(self, top: nn.ModuleList, head: nn.Linear, rows: np.ndarray) -> Tensor:
        tokens = padded([self.tokens[row] for row in rows])
        states = [self._states[row].float() for row in rows]
        x = nn.utils.rnn.pad_sequence(states, batch_first=True)
        padding = is_padding(tokens)
        for layer in top:
            x = layer(x, padding)
        return F.linear(pooled(x.float(), tokens), head.weight, head.bias)[:, 0].float()


def cut(tokens: Sequence[int], limit: int) -> list[int]:
    """Return a text's tokens: of a long text, three quarters from its beginning."""
    if len(tokens) <= limit:
        return list(tokens)
    last = limit // 4
    return [*tokens[: limit - last], *tokens[-last:]]


def padded(texts: Sequence[Sequence[int] | np.ndarray]) -> Tensor:
    """Return texts of different lengths as one tensor, `[N, T]` (int64), T at least 1."""
    size = max([1, *(len(each) for each in texts)])
    result = torch.full((len(texts), size), PAD)
    for row, each in enumerate(texts):
        result[row, : len(each)] = torch.as_tensor(each)
    return result


def batches(
    lengths: np.ndarray, size: int, rng: np.random.Generator | None = None
) -> Iterator[np.ndarray]:
    """Yield the positions of texts of similar lengths.

    Without `rng`, texts are sorted by length. With it, the order is random, and texts are
    sorted within 16 batches only.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    span = max(1, len(order)) if rng is None else 16 * size
    result = []
    for start in range(0, len(order), span):
        part = order[start : start + span]
        part = part[np.argsort(lengths[part], kind="stable")]
        result += [part[i : i + size] for i in range(0, len(part), size)]
    places = range(len(result)) if rng is None else rng.permutation(len(result))
    for place in places:
        yield result[place]


def half() -> torch.autocast:
    """Compute matrix products in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


def optimized(
    groups: list[dict], steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW, and a schedule that rises and then falls to zero, both linearly."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    warm_up = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, max(0.0, 1 - step / (steps + 1))),
    )
    return optimizer, schedule


def step(
    model: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Take a step of at most length 1 in the gradient."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
