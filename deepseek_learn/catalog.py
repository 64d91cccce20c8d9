"""The messages that learners see, in English and Chinese.

All short messages are stored in `messages.toml`, and the code refers to them by key.
This ensures that every message exists in both languages. Longer texts, such as
exercises and model cards, are stored where they are used, in the form
`{"en": ..., "zh": ...}`. Use `choose` or `spoken` to select one of the languages.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LANGUAGES = ("en", "zh")
Text = str | Mapping[str, str]  # one text for both languages, or {"en": ..., "zh": ...}
Card = TypeVar("Card", bound="DataclassInstance")
_current = "en"


def set_language(lang: str) -> None:
    """Set the language for all subsequent course messages.

    Raises:
        ValueError: if `lang` is neither "en" nor "zh".
    """
    global _current
    _current = _check_language(lang)


def language() -> str:
    """Return the current language: `"en"` or `"zh"`."""
    return _current


def text(key: str, lang: str | None = None, **values: Any) -> str:
    """Return the message `key`, with its `{placeholders}` filled in from `values`.

    Raises:
        KeyError: if `key` is not in the catalog, which is a bug in the course.
    """
    return choose(messages()[key], lang).format(**values)


def choose(words: Mapping[str, str], lang: str | None = None) -> str:
    """Return the text in the given language, or in the current language by default."""
    return words[_check_language(lang or _current)]


def spoken(card: Card, lang: str | None = None) -> Card:
    """Return a copy of the dataclass `card` with all its texts in one language.

    Texts inside tuples are converted as well.
    """

    def in_one_language(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(in_one_language(part) for part in value)
        return choose(value, lang) if isinstance(value, Mapping) else value

    fields = {name: in_one_language(value) for name, value in vars(card).items()}
    return dataclasses.replace(card, **fields)


@cache
def messages() -> dict[str, dict[str, str]]:
    """Load the catalog, which maps `"group.name"` to `{"en": ..., "zh": ...}`."""
    file = files(__package__) / "messages.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        f"{group}.{name}": words
        for group, sentences in tables.items()
        for name, words in sentences.items()
    }


def _check_language(lang: str) -> str:
    if lang not in LANGUAGES:
        raise ValueError(f'lang must be "en" or "zh"; got {lang!r}.')
    return lang
