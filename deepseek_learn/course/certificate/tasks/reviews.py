"""Sentiment of Chinese reviews (hotels, books, computers)."""

import numpy as np

from .task import Draw, hold_out, tasks, texts

LEARN, TEST = 2000, 1000
LETTERS = 256  # of a review


@tasks.register("reviews", title={"en": "Understand a review", "zh": "读懂评论"})
def reviews(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Reviews in two classes, 1 for positive; near-duplicates are on one side."""
    from ....solutions.reviews.corpus import review_lines

    frame = review_lines()
    learn, test = hold_out(frame["group"].to_numpy(), 0.3, rng)
    learn, test = learn[:LEARN], test[:TEST]
    words, label = frame["text"].str[:LETTERS], frame["label"].to_numpy(np.int64)
    return Draw(texts(words, learn), label[learn], texts(words, test), label[test])
