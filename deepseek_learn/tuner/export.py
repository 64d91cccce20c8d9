"""A chosen configuration as a file that programs read: JSON or TOML."""

import json
from pathlib import Path
from typing import Any

from ..files import whole


def write_config(path: Path, study: str, solution: Any) -> Path:
    """Write `{study, trial, config: {...}, results: {name: {...}}}`, whole.

    Raises:
        ValueError: when the file's name ends in neither .json nor .toml, or a value is
            None, which TOML cannot hold.
    """
    facts = {"study": study, "trial": solution.number, "config": solution.config}
    facts["results"] = {n: m.to_dict() for n, m in solution.results.items()}
    if path.suffix == ".json":
        words = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".toml":
        words = "\n".join(_tables(facts)) + "\n"
    else:
        raise ValueError(f"path must end in .json or .toml; got {str(path)!r}.")
    with whole(path) as temporary:
        temporary.write_text(words, encoding="utf-8")
    return path


def _tables(table: dict[str, Any], place: tuple[str, ...] = ()) -> list[str]:
    """A table's own values first, as TOML asks, then the tables in it."""
    inner = {k: v for k, v in table.items() if isinstance(v, dict)}
    named = place and len(inner) < len(table)
    lines = [f"\n[{'.'.join(place)}]"] if named else []
    for key, value in table.items():
        if key not in inner:
            lines.append(f"{_quoted(key)} = {_value(key, value)}")
    for key, value in inner.items():
        lines += _tables(value, (*place, _quoted(key)))
    return lines


def _quoted(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)


def _value(key: str, value: Any) -> str:
    if value is None:
        raise ValueError(f"path must end in .json: TOML has no None, which {key!r} is.")
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    # JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
