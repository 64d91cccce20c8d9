"""Train the zoo's `mail_reader` and write its weights, its tokenizer and its record.

    python -m deepseek_learn.solutions.mail.train          # into zoo_runs/
    python -m deepseek_learn.solutions.mail.train --ship   # also into the package

The protocol was fixed before the run. A teacher (`solutions.teacher`) learns from the
emails before 2002-08-26, and a text reader (`solutions.student`) from the teacher. In every
epoch, half of the emails have one word in ten disguised, as in "v1agra". A linear model of
TF-IDF learns the same emails. The border of each comes from the two weeks before
2002-09-09: one percent of their wanted emails is beyond it. An email is unwanted if it is
beyond both borders (`zoo.nets.mail_reader`). The card says how well the emails since
then are read.

How the settings were chosen, and what each step buys, is in `benchmarks/mail.py`.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ... import zoo
from ...data import LabeledDataset, TextDataset
from ...data.chinese import normalize
from ...measure import bootstrap
from ...training import Fit, predict
from ...zoo import Evaluation, storage
from ...zoo.nets.mail_reader import TOKENS, MailReader, PieceCounter
from ...zoo.nets.text_encoder import LIMIT, UNKNOWN
from .. import student
from ..teacher import BATCH, Teacher, batches, cut, padded
from .corpus import CUTS, mail, mail_lines, periods
from .disguise import disguised

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME, SPLIT, SEED = "mail_reader", "time", 0
KEY_LOST = 0.01  # of the wanted emails before the cut, beyond each border
LOST = 0.005  # where there is only one border
DISGUISED, WORDS = 0.5, 0.1  # parts of the emails, of their words
EPOCHS, TEACHING, LEAST = (
    12,
    3,
    3,
)  # of the reader, of the teacher; times a piece occurs


def disturb(text: str, rng: np.random.Generator) -> str:
    """Disguise some words of half of the emails."""
    if rng.random() >= DISGUISED:
        return text
    return disguised(text, rng, ("look_alike", "separated"), WORDS)


def learn(
    texts: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray | None,
    *,
    seed: int = SEED,
) -> "tuple[MailReader, Tokenizer]":
    """Train a reader, whose border must then be set with `set_borders`.

    Args:
        labels: 0 or 1 for every text.
        logits: the teacher's for every text; None to learn from the labels only.
    """
    torch.manual_seed(seed)
    tokenizer = student.small_tokenizer(texts, LEAST)
    reader = MailReader(tokenizer.get_vocab_size())
    reader.text = student.begin(tokenizer, texts)
    student.learn(
        reader.text,
        tokenizer,
        texts,
        labels,
        logits,
        change=disturb,
        epochs=EPOCHS,
        seed=seed,
    )
    fit_counter(reader.counter, encode(tokenizer, texts), labels)
    return reader.eval(), tokenizer


def fit_counter(
    counter: PieceCounter, tokens: Sequence[Sequence[int]], labels: np.ndarray
) -> None:
    """Fit the weights by a linear support vector machine, in place.

    Pieces that occur in one text only have no weight.

    Args:
        tokens: those of each text.
        labels: 0 or 1 for every text, `[N]`.
    """
    from scipy.sparse import csr_matrix
    from sklearn.svm import LinearSVC

    rows = np.repeat(np.arange(len(tokens)), [len(each) for each in tokens])
    columns, size = np.concatenate([*tokens]), len(counter.rarity)
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), (len(tokens), size))
    texts = np.bincount(counts.indices, minlength=size)  # in which a piece occurs
    rarity = np.where(texts > 1, np.log((1 + len(tokens)) / (1 + texts)) + 1, 0.0)
    rarity[UNKNOWN] = 0.0
    counts.data = (1 + np.log(counts.data)) * rarity[counts.indices]
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
    counts.data /= np.repeat(np.maximum(lengths, 1e-6), np.diff(counts.indptr))
    model = LinearSVC(C=1.0, random_state=0).fit(counts, labels)
    with torch.no_grad():
        counter.rarity.copy_(torch.from_numpy(rarity))
        counter.weight.copy_(torch.from_numpy(model.coef_[0]))
        counter.bias.fill_(float(model.intercept_[0]))


def set_borders(
    reader: MailReader, tokenizer: "Tokenizer", texts: Sequence[str], labels: np.ndarray
) -> None:
    """Set both borders by emails that the reader has not learned from, in place."""
    both = odds(reader, tokenizer, texts)
    borders = np.array([border(each, labels, KEY_LOST) for each in both.T])
    with torch.no_grad():
        reader.border.copy_(torch.from_numpy(borders))
        reader.scale.copy_(1 / torch.from_numpy(both.std(0)))


def border(own: np.ndarray, labels: np.ndarray, lost: float = LOST) -> float:
    """Return the score beyond which a part of the wanted emails would be lost."""
    return float(np.quantile(own[labels == 0], 1 - lost))


def encode(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of emails: those that are read in their order, then the others."""
    result = []
    for each in tokenizer.encode_batch_fast([normalize(text) for text in texts]):
        ids = each.ids  # each look at `each.ids` copies all of them
        places = cut(range(len(ids)), LIMIT)
        rest = sorted({*range(len(ids))} - {*places})
        order = [*places, *rest][:TOKENS]
        result.append([ids[place] for place in order] or [UNKNOWN])
    return result


def odds(
    reader: MailReader, tokenizer: "Tokenizer", texts: Sequence[str]
) -> np.ndarray:
    """Return the log-odds of the text reader and of the counter, `[N, 2]`."""
    return _read(reader.odds, tokenizer, texts).numpy()


def margins(
    reader: MailReader, tokenizer: "Tokenizer", texts: Sequence[str]
) -> np.ndarray:
    """Return by how much emails are beyond both borders, `[N, 2]`."""
    return _read(reader.margins, tokenizer, texts).numpy()


def _read(
    model: Callable[[Tensor], Tensor], tokenizer: "Tokenizer", texts: Sequence[str]
) -> Tensor:
    tokens, result = encode(tokenizer, texts), torch.zeros(len(texts), 2)
    with torch.inference_mode():
        for rows in batches(np.array([len(each) for each in tokens]), BATCH):
            result[rows] = model(padded([tokens[row] for row in rows]))
    return result


def tokens_of(part: TextDataset, tokenizer: "Tokenizer") -> "student.Tokens":
    """Return a part of `data.mail` as the reader's tokens."""
    tokens = padded(encode(tokenizer, part.frame["text"].tolist()))
    return student.Tokens(tokens, part.labels, part.frame, groups=part.groups)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def evaluation(tokenizer: "Tokenizer | None" = None) -> Evaluation:
    """Return the emails on which the model is compressed, deployed and tested."""
    tokenizer = tokenizer or zoo.tokenizer(NAME)
    splits = mail()
    rows = np.random.default_rng(SEED).choice(len(splits.train), 256, replace=False)
    own = [splits.train.subset(rows), splits.validation, splits.test]
    calibration, validation, test = (tokens_of(part, tokenizer) for part in own)
    return Evaluation(calibration.batch()[0], validation, test, accuracy)


def measure(model: nn.Module, test: LabeledDataset) -> dict:
    """Return the metrics of a card; the intervals resample days."""
    logits, labels = predict(model, test)
    unwanted = (logits.argmax(1) == 1).numpy()
    days = test.frame["time"].dt.strftime("%Y-%m-%d").to_numpy()
    own = labels.numpy()
    return {
        "all": {
            "found": rate(unwanted[own == 1], days[own == 1]),
            "lost": rate(unwanted[own == 0], days[own == 0]),
        }
    }


def rate(hits: np.ndarray, days: np.ndarray) -> dict[str, float]:
    """Return a rate and its interval by a bootstrap of days."""
    return bootstrap(lambda rows: hits[rows].mean(), days).to_dict()


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    frame, start = mail_lines(), time.process_time()
    texts, labels = frame["text"].tolist(), frame["label"].to_numpy()
    part = periods(frame["time"], CUTS[-1])
    known, before = (np.flatnonzero(part == name) for name in ("train", "validation"))
    teacher = Teacher(texts)
    logits = teacher.learn(known, labels, asked=known, epochs=TEACHING, seed=SEED)
    own = [texts[row] for row in known]
    reader, tokenizer = learn(own, labels[known], logits[known])
    set_borders(reader, tokenizer, [texts[row] for row in before], labels[before])
    storage.load_into(reader, storage.save(NAME, reader, arguments.out))
    run = Fit(pd.DataFrame(index=[1]), 1, "epochs", time.process_time() - start)
    settings = {"seed": SEED, "batch_size": BATCH, "lr": student.LR}
    settings |= {"epochs": EPOCHS, "tokens": tokenizer.get_vocab_size()}
    result = measure(reader, tokens_of(mail().test, tokenizer))
    storage.record(NAME, arguments.out, SPLIT, result, run, settings)
    storage.save_tokenizer(NAME, tokenizer, arguments.out)
    if arguments.ship:
        storage.ship(NAME, arguments.out, SPLIT, weights=True)
    print(result)


if __name__ == "__main__":
    main()
