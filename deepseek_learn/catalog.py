"""Every learner-facing sentence in the code, by key, in English and Chinese.

The sentences are in `messages.toml`; code holds only keys, so that no sentence exists in
just one language. Longer texts (an exercise, a card) are kept where they are used, as
`{"en": ..., "zh": ...}`; `choose` and `spoken` pick one language.
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
Text = str | Mapping[str, str]  # the same in both languages, or {"en": ..., "zh": ...}
Card = TypeVar("Card", bound="DataclassInstance")
_current = "en"


def set_language(lang: str) -> None:
    """Choose the language of all course messages from now on.

    Raises:
        ValueError: if `lang` is neither "en" nor "zh".
    """
    global _current
    _current = _check_language(lang)


def language() -> str:
    """Return the current language: `"en"` or `"zh"`."""
    return _current


def text(key: str, lang: str | None = None, **values: Any) -> str:
    """Return the sentence `key`, with its `{placeholders}` filled in from `values`.

    Raises:
        KeyError: if `key` is not in the catalog (a bug in the course).
    """
    return choose(messages()[key], lang).format(**values)


def choose(words: Mapping[str, str], lang: str | None = None) -> str:
    """Pick one language of `{"en": ..., "zh": ...}`, by default the current one."""
    return words[_check_language(lang or _current)]


def spoken(card: Card, lang: str | None = None) -> Card:
    """Copy the dataclass `card` with its texts, also in tuples, in one language."""

    def in_one_language(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(in_one_language(part) for part in value)
        return choose(value, lang) if isinstance(value, Mapping) else value

    fields = {name: in_one_language(value) for name, value in vars(card).items()}
    return dataclasses.replace(card, **fields)


@cache
def messages() -> dict[str, dict[str, str]]:
    """Load the whole catalog: `"group.name"` maps to `{"en": ..., "zh": ...}`."""
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
