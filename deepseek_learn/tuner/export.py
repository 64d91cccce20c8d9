"""Export a configuration to a JSON or TOML file."""

import json
from pathlib import Path
from typing import Any

from ..files import atomic_write
from .results import Solution


def write_config(path: Path, study: str, solution: Solution) -> Path:
    """Write a configuration and its results to a file, atomically.

    The file contains `{study, trial, config: {...}, results: {name: {...}}}`.

    Raises:
        ValueError: if the file name does not end in .json or .toml, or if a value in a
            TOML file would be None, which TOML cannot represent.
    """
    facts = {"study": study, "trial": solution.number, "config": solution.config}
    facts["results"] = {n: m.to_dict() for n, m in solution.results.items()}
    if path.suffix == ".json":
        content = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".toml":
        content = "\n".join(_tables(facts)) + "\n"
    else:
        raise ValueError(f"path must end in .json or .toml; got {str(path)!r}.")
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def _tables(table: dict[str, Any], place: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of a table, with values before subtables, as TOML requires."""
    subtables = {k: v for k, v in table.items() if isinstance(v, dict)}
    has_header = place and len(subtables) < len(table)
    lines = [f"\n[{'.'.join(place)}]"] if has_header else []
    for key, value in table.items():
        if key not in subtables:
            lines.append(f"{_quoted(key)} = {_value(key, value)}")
    for key, value in subtables.items():
        lines += _tables(value, (*place, _quoted(key)))
    return lines


def _quoted(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)


def _value(key: str, value: Any) -> str:
    if value is None:
        raise ValueError(
            f"path must end in .json because {key!r} is None, which TOML cannot "
            f"represent."
        )
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    # JSON's escapes are valid in TOML, which also requires DEL to be escaped
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
