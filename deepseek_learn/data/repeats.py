"""Find texts that repeat, or nearly repeat, an earlier one."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from ..rng import isolate_rng

SIMILAR, CONTAINED = 0.6, 0.9
LEAST = 6  # sets of three in a text that can nearly repeat another


def key(text: str) -> str:
    """Return the letters and digits of a text: equal texts have equal keys."""
    normal = unicodedata.normalize("NFKC", text).lower()
    return "".join(character for character in normal if character.isalnum())


def near_repeats(
    texts: Sequence[str], *, words: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of pairs of texts that nearly repeat each other.

    They do if their sets of three characters in a row have a Jaccard index of at least
    0.6, or nine tenths of the smaller set are in the other; sets of fewer than six do not
    count.

    Args:
        words: compare three words in a row instead.

    Returns:
        The positions of the earlier and of the later text of each pair.
    """
    with isolate_rng():  # the first import of sklearn draws random numbers
        from sklearn.feature_extraction.text import CountVectorizer

    kind = {"token_pattern": r"\w+"} if words else {"analyzer": "char"}
    counter = CountVectorizer(ngram_range=(3, 3), binary=True, **kind)
    try:
        grams = counter.fit_transform(texts).astype(np.int32)
    except ValueError:  # no text is long enough
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    size = np.asarray(grams.sum(1)).ravel()
    common = (grams @ grams.T).tocoo()
    first, second, both = common.row, common.col, common.data
    union = size[first] + size[second] - both
    least = np.minimum(size[first], size[second])
    near = (both >= SIMILAR * union) | (both >= CONTAINED * least)
    near &= (first < second) & (least >= LEAST)
    return first[near], second[near]
