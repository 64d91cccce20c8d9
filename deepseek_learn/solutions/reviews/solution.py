"""Read reviews: positive, negative or unsure, and which words decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import zoo
from ...catalog import text
from ...data.chinese import normalize
from ...rng import isolate_rng
from ...zoo.nets.text_encoder import LIMIT, TextReader
from .. import student
from ..runner import IndustrySolution, Item, named, solutions
from ..verdicts import checksum, sha256
from ..words import deciding_words
from .files import ENDINGS, Review, ReviewError, read_reviews
from .report import Reviews

SURE = 0.7  # a verdict that is less probable is "unsure"
PHRASE, MEANING = 4, 0.3  # pieces of a query; weight of its meaning


class ReviewClassifier:
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


def nearest(
    reader: ReviewClassifier, find: str, rows: Sequence[dict[str, Any]], count: int = 10
) -> list[tuple[str, float]]:
    """Return the names of the reviews nearest to a query, and their similarity."""
    own = [row for row in rows if row["verdict"] != "refused"]
    if not own:
        return []
    near = reader.nearest(find, [row["text"] for row in own])
    values, places = torch.topk(near, min(count, len(own)))
    pairs = zip(places.tolist(), values.tolist(), strict=True)
    return [(own[at]["name"], round(value, 3)) for at, value in pairs if value > 0]


@solutions.register("reviews")
@dataclass(frozen=True, kw_only=True)
class ReviewReading(IndustrySolution):
    """Understand Chinese reviews, with the zoo's network.

    The input is a text or CSV file, or a folder of them.

    Attributes:
        column: the column of a CSV file that contains the reviews.
        words: whether to look for the deciding words, which takes most of the time.
        find: a question or a word; the page then begins with the nearest reviews.
    """

    column: str | None = None
    words: bool = True
    find: str | None = None
    name: ClassVar[str] = "reviews"
    DISPLAY: ClassVar[frozenset[str]] = frozenset({"find"})
    BATCH: ClassVar[int] = 64

    def __post_init__(self) -> None:
        for name, value in (("find", self.find), ("column", self.column)):
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise ValueError(f"{name} must be a word or a name; got {value!r}.")

    def sources(self, folder: Path, out: Path) -> list[tuple[str, Path]]:
        """Return the text and CSV files."""
        paths = [folder] if folder.is_file() else sorted(folder.glob("**/*"))
        paths = [p for p in paths if p.is_file() and p.suffix.lower() in ENDINGS]
        if not paths:
            raise FileNotFoundError(text("reviews.no_file", folder=folder))
        return named(paths, folder)

    def learn(self, folder: Path, progress: bool) -> ReviewClassifier:
        """Return the zoo's network."""
        return ReviewClassifier()

    def weights(self, model: ReviewClassifier) -> str:
        """Return the checksum of the network's weights."""
        return checksum(model.model)

    def items(
        self, source: tuple[str, Path], model: ReviewClassifier
    ) -> Iterator[Item]:
        """Yield the reviews of a file; or the file, if it cannot be read."""
        name, path = source
        try:
            for review in read_reviews(path, name, self.column):
                digest = sha256(review.text.encode(errors="replace"))
                yield Item(review.name, digest, review)
        except ReviewError as error:
            yield Item(name, sha256(str(error).encode(errors="replace")), error)

    def read(self, item: Item) -> Review:
        """Return a review in Chinese."""
        review: Review = item.content
        if review.refusal:
            raise ReviewError(text(review.refusal), text=review.text)
        return review

    def predict(self, items: Sequence[Item], model: ReviewClassifier) -> list[float]:
        """Return the probability that each review is positive."""
        return model.chances([item.content.text for item in items]).tolist()

    def judge(self, item: Item, model: ReviewClassifier, out: Path) -> dict[str, Any]:
        """Return the verdict on a review, with the deciding words."""
        review: Review = item.content
        long = review.long or model.cuts(review.text)
        facts = {
            "verdict": verdict(item.prediction),
            "warnings": [text("reviews.long")] if long else [],
            "text": review.text,
            "positive": round(item.prediction, 4),
        }
        return facts | ({"words": model.words(review.text)} if self.words else {})

    def report(
        self, verdicts: list[dict[str, Any]], model: ReviewClassifier
    ) -> Reviews:
        """Return the report, with the reviews that are nearest to what is looked for."""
        near = nearest(model, self.find, verdicts) if self.find else []
        return Reviews(verdicts, self.find, near)
