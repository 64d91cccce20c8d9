"""Read reviews: positive, negative or unsure, and which words decided."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import zoo
from ...bar import Bar
from ...catalog import text
from ...data.chinese import normalize
from ...rng import isolate_rng
from ...zoo.nets.text_encoder import LIMIT, TextReader
from .. import student
from ..solution import places
from ..verdicts import Provenance, Verdicts, checksum, sha256
from ..words import deciding_words
from .files import ENDINGS, Review, ReviewError, read_reviews
from .report import Reviews

SURE = 0.7  # a verdict that is less probable is "unsure"
BATCH = 64
PHRASE, MEANING = 4, 0.3  # pieces of a query; weight of its meaning


class Reader:
    """The zoo's network, compressed, with its tokenizer.

    Raises:
        MissingPackageError: if the package `tokenizers` is not installed.
    """

    def __init__(self) -> None:
        model = zoo.load("review_reader_dpg")
        assert isinstance(model, TextReader)
        self.model, self.tokenizer = model, zoo.tokenizer("review_reader")

    def chances(self, texts: Sequence[str]) -> Tensor:
        """Return the probability that each review is positive, `[N]`.

        Raises:
            TypeError: if `texts` is a single text.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts must be a list of reviews; got {texts!r:.60}.")
        logits, _ = student.answers(self.model, self.tokenizer, texts)
        return logits.softmax(1)[:, 1]

    def cuts(self, review: str) -> bool:
        """Whether the middle of a review is not read."""
        return len(self.tokenizer.encode(normalize(review)).ids) > LIMIT

    def nearest(self, query: str, texts: Sequence[str]) -> Tensor:
        """Return how near each review is to a query, `[N]`.

        This is the cosine of TF-IDF vectors of one and two characters in a row and, if
        the query has at least four pieces, 0.3 times that of the reader's vectors: for a
        single word, these find less than TF-IDF does (`benchmarks/reviews.py`).
        """
        with isolate_rng():  # the first import of sklearn draws random numbers
            from sklearn.feature_extraction.text import TfidfVectorizer

        counter = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 2), sublinear_tf=True
        )
        counted = counter.fit_transform([normalize(text) for text in texts])
        query_vector = counter.transform([normalize(query)])
        near = torch.from_numpy((counted @ query_vector.T).toarray()[:, 0])
        if len(self.tokenizer.encode(normalize(query)).ids) < PHRASE:
            return near
        _, vectors = student.answers(self.model, self.tokenizer, [query, *texts])
        return near + MEANING * (vectors[1:] @ vectors[0])

    def words(self, review: str) -> list[list[Any]]:
        """Return [start, stop, weight] of each deciding word of the normalized review."""
        _, words = deciding_words(self.model, self.tokenizer, review)
        return [[word.start, word.stop, round(word.weight, 2)] for word in words]


def verdict(chance: float) -> str:
    """Return "positive", "negative" or "unsure"."""
    if max(chance, 1 - chance) < SURE:
        return "unsure"
    return "positive" if chance > 0.5 else "negative"


def read_folder(
    folder: str | Path,
    out: str | Path,
    *,
    progress: bool = True,
    column: str | None = None,
    words: bool = True,
    find: str | None = None,
) -> Reviews:
    """Read all reviews in a folder.

    Args:
        column: the column of a CSV file that contains the reviews.
        words: whether to look for the deciding words, which takes most of the time.
        find: a question or a word; the page then begins with the nearest reviews.

    Raises:
        FileNotFoundError: if there is no text or CSV file.
        FileExistsError: see `places`.
        ValueError: if `find` or `column` is empty.
    """
    for key, own in (("find", find), ("column", column)):
        if own is not None and not (isinstance(own, str) and own.strip()):
            raise ValueError(f"{key} must be a word or a name; got {own!r}.")
    folder, out = places(folder, out)
    paths = [folder] if folder.is_file() else sorted(folder.glob("**/*"))
    paths = [
        path for path in paths if path.is_file() and path.suffix.lower() in ENDINGS
    ]
    root = folder.parent if folder.is_file() else folder
    if not paths:
        raise FileNotFoundError(text("reviews.no_file", folder=folder))
    reader, names = Reader(), set()
    options = {"column": column, "words": words}
    provenance = Provenance(checksum(reader.model), options)
    with Verdicts(out / "verdicts.jsonl", provenance) as verdicts:
        with Bar(len(paths), progress, text("reviews.bar")) as bar:
            for path in paths:
                name = str(path.relative_to(root))
                for batch in _batches(path, name, column):
                    new = []
                    for item in batch:
                        digest = _digest(item)
                        own = item.name if isinstance(item, Review) else name
                        names.add(own)
                        if (own, digest) not in verdicts:
                            new.append((item, digest))
                    verdicts.add(*judge(reader, new, name, words))
                bar.advance(1)
        rows = [row for row in verdicts.latest() if row["name"] in names]
    report = Reviews(rows, find, nearest(reader, find, rows) if find else [])
    report.save(out)
    return report


def judge(
    reader: Reader, items: Sequence[tuple[Any, str]], name: str, words: bool
) -> Iterator[dict[str, Any]]:
    """Yield what a verdict says of each review, or of a file that cannot be read."""
    readable = [
        item.text for item, _ in items if isinstance(item, Review) and not item.refusal
    ]
    chances = iter(reader.chances(readable).tolist() if readable else [])
    for item, digest in items:
        if isinstance(item, ReviewError):
            refusal = {"verdict": "refused", "reason": str(item)}
            yield {"name": name, "sha256": digest, **refusal}
            continue
        facts: dict[str, Any] = {"text": item.text}
        if item.refusal:
            facts |= {"verdict": "refused", "reason": text(item.refusal)}
        else:
            chance = next(chances)
            facts |= {"verdict": verdict(chance), "positive": round(chance, 4)}
            if words:
                facts["words"] = reader.words(item.text)
        if item.long or (not item.refusal and reader.cuts(item.text)):
            facts["warning"] = text("reviews.long")
        yield {"name": item.name, "sha256": digest, **facts}


def nearest(
    reader: Reader, find: str, rows: Sequence[dict[str, Any]], count: int = 10
) -> list[tuple[str, float]]:
    """Return the names of the reviews nearest to a query, and their similarity."""
    own = [row for row in rows if row["verdict"] != "refused"]
    if not own:
        return []
    near = reader.nearest(find, [row["text"] for row in own])
    values, places = torch.topk(near, min(count, len(own)))
    pairs = zip(places.tolist(), values.tolist(), strict=True)
    return [(own[at]["name"], round(value, 3)) for at, value in pairs if value > 0]


def _digest(item: "Review | ReviewError") -> str:
    content = item.text if isinstance(item, Review) else str(item)
    return sha256(content.encode(errors="replace"))


def _batches(
    path: Path, name: str, column: str | None
) -> Iterator[list[Review | ReviewError]]:
    """Yield the reviews of a file in batches, or the error that it raises."""
    batch: list[Review | ReviewError] = []
    try:
        for review in read_reviews(path, name, column):
            batch.append(review)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except ReviewError as error:
        batch.append(error)
    if batch:
        yield batch
