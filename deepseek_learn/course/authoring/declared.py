"""Which pages and notebooks have a Chinese edition: `zh/translated.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ...errors import DeepSeekLearnError


class TranslationError(DeepSeekLearnError):
    """The declaration of what is translated is missing, or names what is not there."""


@dataclass(frozen=True)
class Pair:
    """One declared page or notebook: its name and where its two editions lie."""

    name: str
    english: Path
    chinese: Path


def declared(root: str | Path) -> list[Pair]:
    """What `zh/translated.toml` declares; a name without an English file is refused."""
    root = Path(root)
    path = root / "zh" / "translated.toml"
    if not path.is_file():
        raise TranslationError(f"{path} is missing: it declares what is translated.")
    lists = tomllib.loads(path.read_text("utf-8"))
    pairs = []
    for name in [*lists.get("pages", []), *lists.get("notebooks", [])]:
        beside = name == "README.md"
        chinese = root / "README.zh.md" if beside else root / "zh" / name
        pairs.append(Pair(name, root / name, chinese))
        if not pairs[-1].english.is_file():
            raise TranslationError(f"{path} declares {name!r}, which does not exist.")
    return pairs
