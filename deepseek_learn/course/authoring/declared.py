"""Read the list of pages and notebooks that are translated into Chinese.

The list is stored in `zh/translated.toml`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ...errors import DeepSeekLearnError


class TranslationError(DeepSeekLearnError):
    """Raised if `translated.toml` is missing or lists a file that does not exist."""


@dataclass(frozen=True)
class Pair:
    """The two editions of a page or notebook.

    Attributes:
        name: the name listed in `translated.toml`.
        english: the path of the English edition.
        chinese: the path of the Chinese edition, which may not exist yet.
    """

    name: str
    english: Path
    chinese: Path


def declared(root: str | Path) -> list[Pair]:
    """Return the pages and notebooks that are listed in `zh/translated.toml`.

    Raises:
        TranslationError: if the list is missing, or if it contains a name for which
            there is no English file.
    """
    root = Path(root)
    path = root / "zh" / "translated.toml"
    if not path.is_file():
        raise TranslationError(
            f"{path} is missing; it must list the translated pages and notebooks."
        )
    lists = tomllib.loads(path.read_text("utf-8"))
    pairs = []
    for name in [*lists.get("pages", []), *lists.get("notebooks", [])]:
        is_readme = name == "README.md"
        chinese = root / "README.zh.md" if is_readme else root / "zh" / name
        pairs.append(Pair(name, root / name, chinese))
        if not pairs[-1].english.is_file():
            raise TranslationError(f"{path} declares {name!r}, which does not exist.")
    return pairs
