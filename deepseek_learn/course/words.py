"""Read the texts of an exercise from `words.en.md` and `words.zh.md`.

Both files have the same sections, in this format:

+++
version = 3                    (TOML, only in English: the other fields of `Problem`)
+++

# The title

The prompt.

## hint 1

The first hint, which may be followed by others.

## failed sum

The message for `Failed("sum", got=…)`, with its `{got}` filled in.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalog import LANGUAGES, Text

SECTION = re.compile(r"^## (hint|failed) (\w+)\n", re.MULTILINE)


def read_words(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the texts of the exercise in `folder`.

    Returns:
        The TOML fields, and a dictionary of the title, prompt, hints and sentences in
        both languages.

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
        raise ValueError(
            f"words.en.md and words.zh.md must have the same sections, but differ in "
            f"{folder.name}."
        )
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
