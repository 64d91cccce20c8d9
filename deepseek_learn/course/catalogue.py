"""Every learner-facing word that code says, by key, in English and Chinese.

The words stand in `messages.toml`; code holds keys only, so that no sentence exists in
one language alone.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "zh")
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
        KeyError: for a key that the catalogue does not hold (a bug of the course).
    """
    return choose(messages()[key], lang).format(**values)


def choose(words: Mapping[str, str], lang: str | None = None) -> str:
    """One language of a text `{"en": ..., "zh": ...}`; by default the one in use."""
    return words[_known(lang or _current)]


@cache
def messages() -> dict[str, dict[str, str]]:
    """The whole catalogue: `"group.name"` to `{"en": ..., "zh": ...}`."""
    tables = tomllib.loads(read_data("messages.toml"))
    return {
        f"{g}.{n}": words for g, names in tables.items() for n, words in names.items()
    }


def read_data(name: str) -> str:
    """The text of a data file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def _known(lang: str) -> str:
    if lang not in LANGUAGES:
        raise ValueError(f'lang must be "en" or "zh"; got {lang!r}.')
    return lang
