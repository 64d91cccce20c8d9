"""Train the zoo's language model and write its weights, tokenizer and card.

    python -m deepseek_learn.zoo.train.small_deepseek CORPUS         # into zoo_runs/
    python -m deepseek_learn.zoo.train.small_deepseek CORPUS --ship  # and the package

CORPUS is the folder described in `bilingual`. The protocol was fixed before the run.
First, a byte-level BPE tokenizer with 4,096 tokens is learned from the training
documents, which takes a few minutes. The documents are shuffled and cut into windows of
256 tokens, and the model is trained for 2,000 steps with batches of 16 windows (8.2
million tokens, or 1.2 passes over the data). The optimizer is DeepOpt with a learning
rate of 0.006 for all parameters. The schedule has a warm-up, a stable phase and a
decay, and training runs in bfloat16 if the processor supports it. The bias of each
router is changed by 0.001 per step. The loss for predicting the token after next has a
weight of 0.3, and the indexer loss has a weight of 1. The weights are taken from the
last step. The metric is bits per byte on the test sets of `data.tang_poems` and
`data.english_verses`. It is computed for each line separately, including the newline.
There is no target value; instead, a benchmark compares the result with dense models.

Before the run, five pairs of learning rates (for matrices and for all other parameters)
were tried for 120 steps each. The training loss was lowest near the chosen rates and
highest at a rate of 0.02 for matrices.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from ... import data
from ...errors import require
from ...files import atomic_write
from ...lm import LanguageModel
from ...measure import Bootstrap, bootstrap
from ...optim import DeepOpt
from ...training import Fit, Limits, Recipe, fit, wsd
from .. import storage
from ..nets.small_deepseek import TEXTS, small_deepseek
from ..writing import END, KINDS, document
from .bilingual import documents

if TYPE_CHECKING:
    import tokenizers

NAME, SEED = "small_deepseek", 0
LENGTH, BATCH, STEPS = 256, 16, 2000
EPOCH = 100  # number of steps between checkpoints
LR, AHEAD, BALANCE = 6e-3, 0.3, 1e-3


def learn_tokenizer(texts: list[str], vocab: int) -> "tokenizers.Tokenizer":
    """Train a byte-level BPE tokenizer, which can encode any text."""
    tokenizers = require("tokenizers", extra="language", purpose="a tokenizer")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END, *(f"<|{kind}|>" for kind in KINDS)],
        initial_alphabet=split.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(
    corpus: Path, out: Path, vocab: int = 4096
) -> tuple["tokenizers.Tokenizer", Tensor]:
    """Return the tokenizer and the tokens of the corpus, as a tensor of shape `[N]`.

    Both are computed only once and are cached in `out`.
    """
    tokenizers = require("tokenizers", extra="language", purpose="a tokenizer")
    path, cache = out / f"{NAME}_tokenizer.json", out / f"{NAME}_tokens.npy"
    if not (path.exists() and cache.exists()):
        pairs = list(documents(corpus))
        tokenizer = learn_tokenizer([text for _, text in pairs], vocab)
        order = np.random.default_rng(SEED).permutation(len(pairs))
        tokens = [token for i in order for token in document(tokenizer, *pairs[i])]
        with atomic_write(cache) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(tokens, dtype=np.uint16))
        with atomic_write(path) as temporary:
            tokenizer.save(str(temporary))
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    return tokenizer, torch.from_numpy(np.load(cache).astype(np.int64))


class TokenWindows(Dataset):
    """A dataset of consecutive, non-overlapping windows of `LENGTH` tokens.

    Each window also includes the token that follows it.
    """

    def __init__(self, tokens: Tensor):
        self.rows = tokens[: (len(tokens) - 1) // LENGTH * LENGTH + 1]

    def __len__(self) -> int:
        return (len(self.rows) - 1) // LENGTH

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows of shape `[B, LENGTH + 1]`, and a weight of 1 for each."""
        places = index[:, None] * LENGTH + torch.arange(LENGTH + 1)
        return self.rows[places], torch.ones(len(index))


class TrainingStep(nn.Module):
    """A module that computes the training losses of a language model.

    It maps windows of shape `[B, T + 1]` to losses of shape `[B, 3]`, in nats per
    token. The first column is the loss for the next token. The second column is the
    loss for the token after next, or 0 if the model has no `MultiTokenPrediction`. The
    third column is the indexer loss, which is the same in each row.
    """

    def __init__(self, model: LanguageModel):
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        model, inputs, targets = self.model, rows[:, :-1], rows[:, 1:]  # [B, T]
        step = model.step(inputs)
        hidden = model.hidden(step)  # [B, T, hidden_size]
        losses = [self.nats(hidden, targets)]
        losses.append(torch.zeros_like(losses[0]))
        if model.config.num_nextn_predict_layers:
            ahead = model.ahead(hidden, targets, 0, step)
            losses[1] = self.nats(ahead[:, :-1], targets[:, 1:])
        losses.append(torch.zeros_like(losses[0]) + model.index_loss())
        return torch.stack(losses, 1)

    def nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self.model.lm_head(hidden).float().flatten(0, 1)  # [B T, V]
        nats = F.cross_entropy(logits, targets.flatten(), reduction="none")
        return nats.view_as(targets).mean(1)  # [B]


def train(
    model: LanguageModel, tokens: Tensor, checkpoint: Path | None = None, **options: Any
) -> Fit:
    """Train the model according to the protocol.

    Training resumes from `checkpoint` if that file exists.

    Args:
        tokens: an int64 tensor of shape `[N]` (see `prepare`).
        checkpoint: the path of the checkpoint; if None, an interrupted run cannot be
            resumed.
        options: arguments for `training.fit`; `steps` and `lr` override the values in
            the protocol.

    Raises:
        ValueError: if `steps` is larger than one epoch but is not a multiple of it.
    """
    training_step = TrainingStep(model)
    roles = {"*.gate.weight": "adamw", "*.position_bias": "adamw"}
    optimizer = DeepOpt(training_step, lr=options.pop("lr", LR), roles=roles)
    optimizer.register_step_post_hook(lambda *_: model.balance(BALANCE))
    weights = torch.tensor([1.0, AHEAD, 1.0])
    steps = options.pop("steps", STEPS)
    if steps > EPOCH and steps % EPOCH:
        raise ValueError(
            f"steps must be below {EPOCH} or a multiple of it; got {steps}."
        )
    return fit(
        training_step,
        TokenWindows(tokens),
        optimizer,
        epochs=max(steps // EPOCH, 1),
        recipe=Recipe(
            loss=lambda losses, _: (losses @ weights.to(losses)).mean(),
            batch_size=BATCH,
            schedule=wsd,
        ),
        limits=Limits(epoch_batches=min(steps, EPOCH)),
        checkpoint=checkpoint,
        **{"seed": SEED, **options},
    )


@torch.inference_mode()
def bits_per_byte(
    model: LanguageModel, tokenizer: "tokenizers.Tokenizer", kind: str, part: Tensor
) -> pd.DataFrame:
    """Compute the number of bits and bytes for each line.

    The column `bits` includes the end token, and the column `bytes` includes the
    newline. Each line starts with the token for its kind, without any preceding
    context. A line that does not fit in the context of the model is split into pieces,
    each of which starts in the same way.
    """
    context, rows = model.config.max_position_embeddings, []
    start = tokenizer.token_to_id(f"<|{kind}|>")
    for line in bytes(part.numpy()).decode().splitlines():
        tokens = document(tokenizer, kind, line)[1:]
        nats = 0.0
        for i in range(0, len(tokens), context):
            piece = tokens[i : i + context]
            inputs = torch.tensor([[start, *piece[:-1]]])
            logits = model(inputs)[0]
            nats += F.cross_entropy(logits, torch.tensor(piece), reduction="sum").item()
        rows.append({"bits": nats / math.log(2), "bytes": len(line.encode()) + 1})
    return pd.DataFrame(rows)


def measured(
    model: LanguageModel, tokenizer: "tokenizers.Tokenizer", part: str = "test"
) -> dict:
    """Compute the bits per byte for both languages.

    The 95% intervals come from a bootstrap over lines.
    """
    metrics = {}
    for name, kind in TEXTS.items():
        text = getattr(data.load(name), part)
        frame = bits_per_byte(model, tokenizer, kind, text)
        bits, size = frame["bits"].to_numpy(), frame["bytes"].to_numpy()
        metrics[f"{name}: bits per byte"] = _ratio(bits, size).to_dict()
    return {"all": metrics}


def _ratio(bits: np.ndarray, size: np.ndarray) -> Bootstrap:
    return bootstrap(lambda lines: bits[lines].sum() / size[lines].sum(), len(bits))


def main() -> None:
    parser = storage.options(__doc__)
    parser.add_argument("corpus", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens = prepare(arguments.corpus, arguments.out)
    print(f"{len(tokens):,} tokens")
    torch.manual_seed(SEED)
    model, checkpoint = small_deepseek(), arguments.out / f"{NAME}.checkpoint"
    run = train(model, tokens, checkpoint)
    print(run.history)
    storage.load_into(model.eval(), storage.save(NAME, model, arguments.out))
    metrics = measured(model, tokenizer)
    settings = {"seed": SEED, "batch_size": BATCH, "lr": LR, "steps": STEPS}
    storage.record(NAME, arguments.out, "fixed", metrics, run, settings)
    if arguments.ship:
        storage.ship(NAME, arguments.out, "fixed", weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
