"""A lock file that records the English text on which each translation is based.

`zh/translations.lock` stores a hash of the English original of each Chinese text. When
the English text changes, `check` reports the translation until it has been updated and
`accept` has recorded the new hash. A text is identified by its location:

- `deepseek_learn/messages.toml:ledger.readings`: a `{en, zh}` table in a TOML file of
  the library (messages, claims, lessons, cards);
- `problem:shift_sum:hint 1`: a section of an exercise;
- `book/intro.md`: a page;
- `notebooks/basic/00_tour.ipynb:title`: a text cell of a notebook.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat

from ...catalog import LANGUAGES
from ...errors import DeepSeekLearnError
from ...files import atomic_write
from ..words import read_words
from .declared import Pair, declared
from .links import without_address
from .signposts import GENERATED
from .syllabus import without_tables

LOCK = Path("zh") / "translations.lock"


def check(root: str | Path) -> list[str]:
    """Return a message for each text whose translation is missing or out of date."""
    texts, locked = english(root), _read(root)
    problems = [
        f"{key}: not translated yet."
        if key not in locked
        else f"{key}: the translation is out of date."
        for key, current in texts.items()
        if locked.get(key) != current
    ]
    gone = sorted(locked.keys() - texts.keys())
    return problems + [
        f"{key}: in the lock file, but the text no longer exists." for key in gone
    ]


def accept(root: str | Path, names: Iterable[str]) -> int:
    """Record that the translations of `names` match the current English texts.

    Args:
        names: the keys of texts, or prefixes of keys, such as a page or a notebook.
            `"all"` selects every text.

    Returns:
        The number of lock entries that changed.

    Raises:
        DeepSeekLearnError: if a name does not match any text. In this case, nothing is
            recorded.
    """
    texts, locked, names = english(root), _read(root), list(names)
    keys = [*texts, *(locked.keys() - texts.keys())]
    for name in names:
        if not any(_matches(key, name) for key in keys):
            raise DeepSeekLearnError(
                f"{name!r} is not a translated text; the name of a text starts with "
                f"its file, as in {next(iter(texts), 'book/intro.md')!r}."
            )
    selection = [key for key in keys if any(_matches(key, name) for name in names)]
    new = {key: value for key, value in locked.items() if key not in selection}
    new |= {key: texts[key] for key in selection if key in texts}
    changes = sum(locked.get(key) != new.get(key) for key in selection)
    if changes:
        with atomic_write(Path(root) / LOCK) as temporary:
            content = json.dumps(
                dict(sorted(new.items())), indent=0, ensure_ascii=False
            )
            temporary.write_text(content + "\n", encoding="utf-8")
    return changes


def english(root: str | Path) -> dict[str, str]:
    """Return the hash of each translated text's English original, indexed by key."""
    root = Path(root)
    texts = [*_tables(root), *_problems(root)]
    for pair in declared(root):
        if pair.chinese.exists():
            texts += _cells(pair) if pair.english.suffix == ".ipynb" else _page(pair)
    return {key: digest(text) for key, text in texts}


def digest(text: str) -> str:
    """Return a hash of an English text that does not depend on the course's address."""
    plain = without_address("\n".join(text.split("\n"))).strip()
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def _matches(key: str, name: str) -> bool:
    return name == "all" or key == name or key.startswith(f"{name}:")


def _tables(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "deepseek_learn").rglob("*.toml")):
        place = path.relative_to(root).as_posix()
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        yield from ((f"{place}:{key}", text) for key, text in _walk(tables))


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the English text of each `{en, zh}` table."""
    if isinstance(value, dict) and set(LANGUAGES) <= set(value):
        yield key, value["en"]
        value = {k: v for k, v in value.items() if isinstance(v, dict)}  # more such
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            name = part.get("slug", name) if isinstance(part, dict) else name
            yield from _walk(part, f"{key}.{name}" if key else str(name))


def _problems(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("exercises/problems/*/*/words.en.md")):
        _, words = read_words(path.parent)
        key = f"problem:{path.parent.name}"
        yield f"{key}:title", words["title"]["en"]
        yield f"{key}:prompt", words["prompt"]["en"]
        for number, hint in enumerate(words["hints"], start=1):
            yield f"{key}:hint {number}", hint["en"]
        for name, sentence in words["sentences"].items():
            yield f"{key}:failed {name}", sentence["en"]


def _page(pair: Pair) -> Iterator[tuple[str, str]]:
    yield pair.name, without_tables(pair.english.read_text(encoding="utf-8"))


def _cells(pair: Pair) -> Iterator[tuple[str, str]]:
    for cell in nbformat.read(pair.english, as_version=4).cells:
        if cell.cell_type != "code" and GENERATED not in cell.metadata.get("tags", ()):
            yield f"{pair.name}:{cell.id}", cell.source


def _read(root: str | Path) -> dict[str, str]:
    path = Path(root) / LOCK
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
