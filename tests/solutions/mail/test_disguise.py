"""Disguised words: what is changed, and what of it `plain` undoes."""

import numpy as np
import pytest

from deepseek_learn.solutions.mail.disguise import KINDS, LOOKS, disguised
from deepseek_learn.solutions.mail.text import plain

TEXT = "Buy cheap watches here: 20 of them, and one for free."


@pytest.mark.parametrize("kind", KINDS)
def test_long_words_are_disguised(kind):
    said = disguised(TEXT, np.random.default_rng(0), (kind,), 1.0)
    assert said != TEXT
    assert "cheap" not in said
    assert said.startswith("Buy ")
    assert "one for" in said
    assert disguised(TEXT, np.random.default_rng(0), (kind,), 0.0) == TEXT


@pytest.mark.parametrize("kind", ["zero_width", "homoglyphs"])
def test_some_disguises_are_undone(kind):
    assert plain(disguised(TEXT, np.random.default_rng(0), (kind,), 1.0)) == TEXT


def test_about_half_of_the_letters_look_alike():
    said = disguised("viagra", np.random.default_rng(0), ("look_alike",), 1.0)
    assert len(said) == 6
    changed = [(a, b) for a, b in zip("viagra", said, strict=True) if a != b]
    assert len(changed) == 2  # of the letters i, a, g, a
    assert all(b in LOOKS[a] for a, b in changed)
