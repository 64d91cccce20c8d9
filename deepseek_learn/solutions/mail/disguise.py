"""Disguise words as senders of unwanted emails do: "v1agra", "v.i.a.g.r.a"."""

import re

import numpy as np

WORD = re.compile(r"[A-Za-z]{4,}")
LOOKS = {  # what a letter is replaced by
    "a": "@4", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1|", "o": "0", "s": "$5",
    "t": "7+", "z": "2",
}  # fmt: skip
HOMOGLYPHS = dict(zip("aceiopsxyABEHKMOPTX", "асеіорѕхуАВЕНКМОРТХ", strict=True))
ZERO_WIDTH, SEPARATORS = "\u200b\u200c\u200d\u2060", ".-_*"


def look_alike(word: str, rng: np.random.Generator) -> str:
    """Replace half of the letters that digits and signs resemble, at least one."""
    places = [place for place, c in enumerate(word) if c.lower() in LOOKS]
    if not places:
        return word
    count, letters = -(-len(places) // 2), list(word)
    for place in rng.choice(places, count, replace=False):
        letters[place] = str(rng.choice([*LOOKS[word[place].lower()]]))
    return "".join(letters)


def separated(word: str, rng: np.random.Generator) -> str:
    """Put a sign between all letters, as in "f.r.e.e"."""
    return str(rng.choice([*SEPARATORS])).join(word)


def zero_width(word: str, rng: np.random.Generator) -> str:
    """Put invisible characters between the letters."""
    return "".join(c + str(rng.choice([*ZERO_WIDTH])) for c in word)


def homoglyphs(word: str, rng: np.random.Generator) -> str:
    """Replace letters by Cyrillic ones that look the same."""
    return "".join(HOMOGLYPHS.get(c, c) for c in word)


KINDS = {
    each.__name__: each for each in (look_alike, separated, zero_width, homoglyphs)
}


def disguised(
    text: str, rng: np.random.Generator, kinds: tuple[str, ...], part: float
) -> str:
    """Disguise some words of at least four letters, at random.

    Args:
        kinds: names in `KINDS`, one of which is drawn for every word.
        part: the part of the words that are disguised.
    """

    def change(match: re.Match) -> str:
        if rng.random() >= part:
            return match[0]
        return KINDS[kinds[rng.integers(len(kinds))]](match[0], rng)

    return WORD.sub(change, text)
