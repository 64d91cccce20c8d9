"""An entry: one Python file, and one TOML file of metadata beside it.

The static checks of `source` find what needs no run: a syntax error, a file that is too
large, and data in the source or in the settings.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog import LANGUAGES, choose
from ..escaping import printable
from .source import EntryError, check_settings, check_source, stripped

FIELDS = {"title", "author", "source", "note", "settings"}
NAME = re.compile(r"[A-Za-z0-9_]{1,60}")
LONGEST = 500  # characters of a text


@dataclass(frozen=True)
class Entry:
    """A file that takes part in a track.

    Attributes:
        track: the name of the track.
        name: the file's name without its suffix.
        source: the Python code.
        title, note: texts in both languages.
        author: who wrote it.
        settings: values that are passed to the entry's function, by task.
    """

    track: str
    name: str
    source: bytes
    title: Mapping[str, str]
    author: str
    note: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """The hash of the code and the settings, which a record refers to."""
        settings = json.dumps(self.settings, sort_keys=True).encode()
        return hashlib.sha256(self.source + b"\0" + settings).hexdigest()

    @property
    def code(self) -> str:
        """The code that runs: the source without comments and docstrings."""
        return stripped(self.source)

    def words(self, field: str, lang: str | None = None) -> str:
        """Return the title or the note in one language."""
        return choose(getattr(self, field), lang)


def read(path: str | Path, track: str | None = None) -> Entry:
    """Read an entry and its metadata; without metadata, its name is its title.

    Args:
        path: the Python file.
        track: the track's name; by default, the name of the file's folder.

    Raises:
        EntryError: if the file, or the metadata beside it, breaks a rule that can be
            checked without running it.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise EntryError(f"an entry must be a Python file (.py); got {path}.")
    if not NAME.fullmatch(path.stem):
        raise EntryError(
            f"the name of an entry's file must be 1 to 60 ASCII letters, digits and _; "
            f"got {path.name}."
        )
    source = path.read_bytes()
    check_source(source, path.name)
    meta = _metadata(path.with_suffix(".toml"))
    plain = dict.fromkeys(LANGUAGES, path.stem)
    return Entry(
        track or path.resolve().parent.name,
        path.stem,
        source,
        meta.get("title", plain),
        meta.get("author", ""),
        meta.get("note", dict.fromkeys(LANGUAGES, "")),
        meta.get("settings", {}),
    )


def _metadata(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        meta = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EntryError(f"{path.name}: not valid TOML: {error}.") from None
    if unknown := set(meta) - FIELDS:
        raise EntryError(
            f"{path.name}: unknown field {min(unknown)!r}; known are "
            f"{', '.join(sorted(FIELDS))}."
        )
    for name in ("title", "note"):
        words = meta.get(name, dict.fromkeys(LANGUAGES, ""))
        if not isinstance(words, dict) or set(words) != set(LANGUAGES):
            raise EntryError(f"{path.name}: {name} must have the texts en and zh.")
        for lang, value in words.items():
            _check_text(value, f"{path.name}: {name}.{lang}")
    for name in ("author", "source"):
        _check_text(meta.get(name, ""), f"{path.name}: {name}")
    check_settings(meta.get("settings", {}), path.name)
    return meta


def _check_text(value: object, name: str) -> None:
    """Refuse anything but one line of visible characters."""
    if not isinstance(value, str) or printable(value, LONGEST) != value:
        raise EntryError(
            f"{name} must be one line of at most {LONGEST} visible characters; got "
            f"{value!r}."
        )
