"""Train the zoo's language model and write its weights, tokenizer and card.

    python -m deepseek_learn.zoo.train.small_deepseek CORPUS         # into zoo_runs/
    python -m deepseek_learn.zoo.train.small_deepseek CORPUS --ship  # and the package

CORPUS is the folder that `bilingual` describes. Protocol, fixed before the run: a
byte-level BPE of 4,096 tokens, learnt from the training documents (minutes); windows of
256 tokens over the shuffled documents, 16 a batch, 2,000 steps (8.2 million tokens, 1.2
times what there are); DeepOpt at 0.006 for all, warm-up, stay, decay, bfloat16 where the
processor has it; every router's bias moved by 0.001 a step; the prediction of one token
further counts 0.3, the indexers' loss 1. The last step is kept. Measured are bits a byte
on the test parts of `data.tang_poems` and `data.english_verses`, each line alone, its end
included. No target: what it reaches is held against dense models by a benchmark.

Before it, five pairs of rates (of matrices and of the rest) were tried for 120 steps;
the training loss was lowest near the rates taken, highest where matrices had 0.02.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import data
from ...errors import require
from ...files import whole
from ...lm import LanguageModel
from ...optim import DeepOpt
from ...training import Fit, fit, wsd
from .. import storage
from ..nets.small_deepseek import TEXTS, small_deepseek
from ..writing import END, KINDS, document
from .bilingual import documents

NAME, SEED = "small_deepseek", 0
LENGTH, BATCH, STEPS, EPOCH = 256, 16, 2000, 100  # steps an epoch, then a checkpoint
LR, AHEAD, BALANCE = 6e-3, 0.3, 1e-3


def learn_tokenizer(texts: list[str], vocab: int):
    """A byte-level BPE: every text can be written in its tokens."""
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


def prepare(corpus: Path, out: Path, vocab: int = 4096):
    """Tokenizer and tokens `[N]`, made once and kept in `out`."""
    tokenizers = require("tokenizers", extra="language", purpose="a tokenizer")
    path, kept = out / f"{NAME}_tokenizer.json", out / f"{NAME}_tokens.npy"
    if not (path.exists() and kept.exists()):
        found = list(documents(corpus))
        tokenizer = learn_tokenizer([text for _, text in found], vocab)
        order = np.random.default_rng(SEED).permutation(len(found))
        tokens = [token for i in order for token in document(tokenizer, *found[i])]
        with whole(kept) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(tokens, dtype=np.uint16))
        with whole(path) as temporary:
            tokenizer.save(str(temporary))
    tokens = torch.from_numpy(np.load(kept).astype(np.int64))
    return tokenizers.Tokenizer.from_file(str(path)), tokens


class Windows:
    """Windows of `LENGTH` tokens side by side, each with the token that follows."""

    def __init__(self, tokens: Tensor):
        self.rows = tokens[: (len(tokens) - 1) // LENGTH * LENGTH + 1]

    def __len__(self) -> int:
        return (len(self.rows) - 1) // LENGTH

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, LENGTH + 1]`, and of each row whether it counts, which it does."""
        places = index[:, None] * LENGTH + torch.arange(LENGTH + 1)
        return self.rows[places], torch.ones(len(index))


class Lesson(nn.Module):
    """Windows `[B, T + 1]` → nats a token, a row for each: `[B, 3]`.

    Of the next token, of the one after it (0 without `MultiTokenPrediction`), and of the
    indexers (the same in each row).
    """

    def __init__(self, model: LanguageModel):
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        model, read, following = self.model, rows[:, :-1], rows[:, 1:]
        step = model.step(read)
        hidden = model.hidden(step)
        losses = [self.nats(hidden, following)]
        losses.append(torch.zeros_like(losses[0]))
        if model.config.num_nextn_predict_layers:
            ahead = model.ahead(hidden, following, 0, step)
            losses[1] = self.nats(ahead[:, :-1], following[:, 1:])
        losses.append(torch.zeros_like(losses[0]) + model.index_loss())
        return torch.stack(losses, 1)

    def nats(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        logits = self.model.lm_head(hidden).float().flatten(0, 1)  # [B T, V]
        nats = F.cross_entropy(logits, wanted.flatten(), reduction="none")
        return nats.view_as(wanted).mean(1)


def train(
    model: LanguageModel, tokens: Tensor, checkpoint: Path | None = None, **options
) -> Fit:
    """One run as the protocol says; it goes on from `checkpoint` where that exists.

    Args:
        tokens: `[N]` int64, see `prepare`.
        checkpoint: a file; None: a run that is cut off is lost.
        options: of `training.fit`, and `steps` and `lr` where the protocol's are not
            wanted.

    Raises:
        ValueError: for steps that are no whole number of epochs.
    """
    lesson = Lesson(model)
    roles = {"*.gate.weight": "adamw", "*.position_bias": "adamw"}
    optimizer = DeepOpt(lesson, lr=options.pop("lr", LR), roles=roles)
    optimizer.register_step_post_hook(lambda *_: model.balance(BALANCE))
    weights = torch.tensor([1.0, AHEAD, 1.0])
    steps = options.pop("steps", STEPS)
    if steps > EPOCH and steps % EPOCH:
        raise ValueError(f"steps must be below or a multiple of {EPOCH}; got {steps}.")
    return fit(
        lesson,
        Windows(tokens),
        optimizer,
        epochs=max(steps // EPOCH, 1),
        epoch_batches=min(steps, EPOCH),
        batch_size=BATCH,
        loss=lambda losses, _: (losses @ weights.to(losses)).mean(),
        schedule=wsd,
        checkpoint=checkpoint,
        **{"seed": SEED, **options},
    )


@torch.inference_mode()
def bits_per_byte(
    model: LanguageModel, tokenizer, kind: str, part: Tensor
) -> pd.DataFrame:
    """Of each line of a text: `bits` for its tokens and the end, `bytes` with line end.

    A line is read from its kind's token on, without a past; one that is longer than the
    model's context is read in pieces, each without a past.
    """
    most, rows = model.config.max_position_embeddings, []
    begin = tokenizer.token_to_id(f"<|{kind}|>")
    for line in bytes(part.numpy()).decode().splitlines():
        tokens = document(tokenizer, kind, line)[1:]
        nats = 0.0
        for i in range(0, len(tokens), most):
            piece = tokens[i : i + most]
            read = torch.tensor([[begin, *piece[:-1]]])
            logits = model(read)[0]
            nats += F.cross_entropy(logits, torch.tensor(piece), reduction="sum").item()
        rows.append({"bits": nats / math.log(2), "bytes": len(line.encode()) + 1})
    return pd.DataFrame(rows)


def measured(model: LanguageModel, tokenizer, part: str = "test") -> dict:
    """Bits a byte on both languages, with a 95 % interval over lines (bootstrap)."""
    found = {}
    for name, kind in TEXTS.items():
        text = getattr(data.load(name), part)
        frame = bits_per_byte(model, tokenizer, kind, text)
        rng = np.random.default_rng(0)
        draws = rng.integers(0, len(frame), (1000, len(frame)))
        bits, size = frame["bits"].to_numpy(), frame["bytes"].to_numpy()
        low, high = np.quantile(bits[draws].sum(1) / size[draws].sum(1), (0.025, 0.975))
        value = bits.sum() / size.sum()
        numbers = {"value": value, "low": low, "high": high}
        numbers = {k: round(float(v), 4) for k, v in numbers.items()}
        found[f"{name}: bits a byte"] = numbers | {"n": len(frame)}
    return {"all": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=storage.RUNS)
    parser.add_argument("--ship", action="store_true", help="put it into the package")
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
        path = f"{NAME}_tokenizer.json"
        with whole(storage.WEIGHTS / path) as temporary:
            temporary.write_bytes((arguments.out / path).read_bytes())
    print(metrics)


if __name__ == "__main__":
    main()
