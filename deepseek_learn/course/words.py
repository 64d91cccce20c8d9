"""The texts of an exercise: `words.en.md` and `words.zh.md`, with the same sections.

+++
version = 3                    (only in English: TOML, the other fields of `Problem`)
+++

# The title

The prompt.

## hint 1

A hint; more may follow.

## failed sum

The sentence that a check's `Failed("sum", got=…)` shows, with its `{got}` filled in.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalog import LANGUAGES, Text

SECTION = re.compile(r"^## (hint|failed) (\w+)\n", re.MULTILINE)


def read_words(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the TOML fields, and the title, prompt, hints and sentences by language.

    Raises:
        ValueError: if the two files have different sections.
    """
    facts: dict[str, Any] = {}
    parts: dict[str, dict[str, str]] = {}
    for lang in LANGUAGES:
        head, parts[lang] = _parse((folder / f"words.{lang}.md").read_text("utf-8"))
        facts |= head
    first, *others = parts.values()
    if any(list(other) != list(first) for other in others):
        raise ValueError(f"{folder.name}: the languages have different sections.")
    texts = {key: {lang: parts[lang][key] for lang in LANGUAGES} for key in first}
    return facts, {
        "title": texts["title"],
        "prompt": texts["prompt"],
        "hints": tuple(text for _, text in _with_prefix(texts, "hint ")),
        "sentences": dict(_with_prefix(texts, "failed ")),
    }


def _parse(content: str) -> tuple[dict[str, Any], dict[str, str]]:
    facts: dict[str, Any] = {}
    if content.startswith("+++\n"):
        head, _, content = content.removeprefix("+++\n").partition("\n+++\n")
        facts = tomllib.loads(head)
    task, *rest = SECTION.split(content)
    title, _, prompt = task.strip().removeprefix("# ").partition("\n")
    keys = (f"{kind} {name}" for kind, name in zip(rest[::3], rest[1::3], strict=True))
    sections = dict(zip(keys, (text.strip() for text in rest[2::3]), strict=True))
    return facts, {"title": title, "prompt": prompt.strip(), **sections}


def _with_prefix(texts: Mapping[str, Text], prefix: str) -> list[tuple[str, Text]]:
    return [
        (key.removeprefix(prefix), words)
        for key, words in texts.items()
        if key.startswith(prefix)
    ]
