"""Every learner-facing word that code says, by key, in English and Chinese.

The words stand in `messages.toml`; code holds keys only, so that no sentence exists in
one language alone. Longer texts (an exercise, a card) stand where they belong, as
`{"en": ..., "zh": ...}`; `choose` and `spoken` give one language of them.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

LANGUAGES = ("en", "zh")
Text = str | Mapping[str, str]  # the same in both languages, or {"en": ..., "zh": ...}
Card = TypeVar("Card")
_current = "en"


def set_language(lang: str) -> None:
    """Choose the language of everything the course says from now on.

    Raises:
        ValueError: naming the languages there are.
    """
    global _current
    _current = _known(lang)


def language() -> str:
    """The language in use: `"en"` or `"zh"`."""
    return _current


def text(key: str, lang: str | None = None, **values: Any) -> str:
    """The sentence `key`, its `{placeholders}` filled with `values`.

    Raises:
        KeyError: for a key that the catalog does not hold (a bug of the course).
    """
    return choose(messages()[key], lang).format(**values)


def choose(words: Mapping[str, str], lang: str | None = None) -> str:
    """One language of a text `{"en": ..., "zh": ...}`; by default the one in use."""
    return words[_known(lang or _current)]


def spoken(card: Card, lang: str | None = None) -> Card:
    """A copy of the dataclass `card` whose texts, also those in tuples, are chosen."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(one(part) for part in value)
        return choose(value, lang) if isinstance(value, Mapping) else value

    return dataclasses.replace(card, **{k: one(v) for k, v in vars(card).items()})


@cache
def messages() -> dict[str, dict[str, str]]:
    """The whole catalog: `"group.name"` to `{"en": ..., "zh": ...}`."""
    file = files(__package__) / "messages.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"{g}.{n}": words for g, names in tables.items() for n, words in names.items()
    }


def _known(lang: str) -> str:
    if lang not in LANGUAGES:
        raise ValueError(f'lang must be "en" or "zh"; got {lang!r}.')
    return lang
