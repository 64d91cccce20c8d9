"""Train the zoo's `review_reader` and write its weights, its tokenizer and its record.

    python -m deepseek_learn.solutions.reviews.train          # into zoo_runs/
    python -m deepseek_learn.solutions.reviews.train --ship   # also into the package

The protocol was fixed before the run. A teacher (`solutions.teacher`) learns from the
reviews of folds 1 to 4, and the reader (`solutions.student`) from the teacher; the card
says how well it reads fold 0. In every epoch, three reviews in ten lose their punctuation,
and in half of them one character in twenty is replaced by another from the training
reviews.

How the settings were chosen, and what each step buys, is in `benchmarks/reviews.py`.
"""

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ... import zoo
from ...data import LabeledDataset, TextDataset
from ...measure import bootstrap
from ...training import Fit, predict
from ...zoo import Evaluation, storage
from ...zoo.nets.text_encoder import TextReader
from .. import student
from ..teacher import BATCH, Teacher, padded
from .corpus import review_lines, reviews

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME, SPLIT, SEED = "review_reader", "group", 0
BARE, TYPOS, REPLACED = 0.3, 0.5, 0.05  # parts of the reviews, of their characters
PUNCTUATION = re.compile(r"[^\w\s]")


class Disturbed:
    """Takes punctuation out of some reviews, and puts wrong characters into others."""

    def __init__(self, texts: Sequence[str]):
        self.letters = np.array(list("".join(texts)))  # as often as they occur

    def __call__(self, text: str, rng: np.random.Generator) -> str:
        if rng.random() < BARE:
            text = PUNCTUATION.sub("", text) or text
        if rng.random() < TYPOS:
            text = self.replaced(text, rng)
        return text

    def replaced(self, text: str, rng: np.random.Generator) -> str:
        """Replace one character in twenty, at random, by another one."""
        places = np.flatnonzero(rng.random(len(text)) < REPLACED)
        letters = list(text)
        for place, letter in zip(
            places, rng.choice(self.letters, len(places)), strict=True
        ):
            letters[place] = str(letter)
        return "".join(letters)


def learn(
    texts: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray | None,
    meanings: Tensor | None,
    *,
    seed: int = SEED,
    pretrained: bool = True,
) -> "tuple[TextReader, Tokenizer]":
    """Train a reader; see `student.learn`.

    Args:
        pretrained: whether it begins as a part of multilingual-e5-small.
    """
    torch.manual_seed(seed)
    tokenizer = student.small_tokenizer(texts)
    if pretrained:
        reader = student.begin(tokenizer, texts)
    else:
        reader = TextReader(tokenizer.get_vocab_size())
    student.learn(
        reader,
        tokenizer,
        texts,
        labels,
        logits,
        change=Disturbed(texts),
        seed=seed,
    )
    if meanings is not None:
        student.learn_meanings(reader, tokenizer, texts, meanings)
    return reader, tokenizer


def tokens_of(part: TextDataset, tokenizer: "Tokenizer") -> "student.Tokens":
    """Return a part of `data.reviews` as the reader's tokens."""
    tokens = padded(student.encode(tokenizer, part.frame["text"].tolist()))
    return student.Tokens(tokens, part.labels, part.frame, groups=part.groups)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def evaluation(tokenizer: "Tokenizer | None" = None) -> Evaluation:
    """Return the reviews on which the model is compressed, deployed and tested.

    The shipped reader has learned from the held-out part, too: there, a loss by INT8 may
    look smaller than on the test part.
    """
    tokenizer = tokenizer or zoo.tokenizer(NAME)
    splits = reviews()
    rows = np.random.default_rng(SEED).choice(len(splits.train), 256, replace=False)
    parts = [splits.train.subset(rows), splits.validation, splits.test]
    calibration, validation, test = (tokens_of(part, tokenizer) for part in parts)
    return Evaluation(calibration.batch()[0], validation, test, accuracy)


def measure(model: torch.nn.Module, test: LabeledDataset) -> dict:
    """Return the metrics of a card, those of fold 0; the interval resamples groups."""
    logits, labels = predict(model, test)
    assert test.groups is not None
    hits = (logits.argmax(1) == labels).numpy()
    accuracy = bootstrap(lambda rows: hits[rows].mean(), test.groups)
    return {"all": {"accuracy": accuracy.to_dict()}}


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    frame, start = review_lines(), time.process_time()
    labels, known = frame["label"].to_numpy(), np.flatnonzero(frame["fold"] != 0)
    teacher = Teacher(frame["text"].tolist())
    logits = teacher.learn(known, labels, seed=SEED)
    texts, meanings = frame["text"][known].tolist(), teacher.meanings[known]
    reader, tokenizer = learn(texts, labels[known], logits[known], meanings)
    storage.load_into(reader, storage.save(NAME, reader, arguments.out))
    run = Fit(pd.DataFrame(index=[1]), 1, "epochs", time.process_time() - start)
    settings = {"seed": SEED, "batch_size": BATCH, "lr": student.LR}
    settings |= {"epochs": student.EPOCHS, "tokens": tokenizer.get_vocab_size()}
    result = measure(reader, tokens_of(reviews().test, tokenizer))
    storage.record(NAME, arguments.out, SPLIT, result, run, settings)
    storage.save_tokenizer(NAME, tokenizer, arguments.out)
    if arguments.ship:
        storage.ship(NAME, arguments.out, SPLIT, weights=True)
    print(result)


if __name__ == "__main__":
    main()
