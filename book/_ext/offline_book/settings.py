"""What both editions share: the repository's address, the footer, the language."""

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def is_zh(app) -> bool:
    return app.config.language.startswith("zh")


def language_of(app) -> str:
    return "zh" if is_zh(app) else "en"


def set_repository(app, config) -> None:
    """Set the address of the buttons (from pyproject.toml) and this edition's folder.

    Without an address, the buttons that would lead there are left out.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    if not address:
        config.html_theme_options |= {
            "repository_url": "",
            "use_repository_button": False,
            "launch_buttons": {},
        }
        return
    folder = Path(app.srcdir).resolve().relative_to(ROOT).as_posix()
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": "main",
        "path_to_docs": "" if folder == "." else folder,
    }


def set_last_run(app, config) -> None:
    """Put the date that the monthly workflow writes into the footer."""
    file = ROOT / "book" / "last_run.json"
    if file.is_file():
        from deepseek_learn.catalog import text

        lang = "zh" if config.language.startswith("zh") else "en"
        words = text("book.last_run", lang, **json.loads(file.read_text("utf-8")))
        config.html_theme_options |= {"extra_footer": words}
