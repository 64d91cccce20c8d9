"""The pages and notebooks that have a Chinese edition, from `zh/translated.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ...errors import DeepSeekLearnError


class TranslationError(DeepSeekLearnError):
    """`translated.toml` is missing, or names a file that does not exist."""


@dataclass(frozen=True)
class Pair:
    """A declared page or notebook: its name and the paths of its two editions."""

    name: str
    english: Path
    chinese: Path


def declared(root: str | Path) -> list[Pair]:
    """Return the pairs that `zh/translated.toml` declares.

    Raises:
        TranslationError: if the file is missing, or declares a name without an English
            file.
    """
    root = Path(root)
    path = root / "zh" / "translated.toml"
    if not path.is_file():
        raise TranslationError(f"{path} is missing: it declares what is translated.")
    lists = tomllib.loads(path.read_text("utf-8"))
    pairs = []
    for name in [*lists.get("pages", []), *lists.get("notebooks", [])]:
        is_readme = name == "README.md"
        chinese = root / "README.zh.md" if is_readme else root / "zh" / name
        pairs.append(Pair(name, root / name, chinese))
        if not pairs[-1].english.is_file():
            raise TranslationError(f"{path} declares {name!r}, which does not exist.")
    return pairs
