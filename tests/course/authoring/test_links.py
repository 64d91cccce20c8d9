"""The repository's address: one setting, shown everywhere or nowhere."""

import re
import shutil
from pathlib import Path

import pytest

from deepseek_learn.course.authoring import links
from deepseek_learn.course.authoring.lock import digest
from deepseek_learn.errors import DeepSeekLearnError

ROOT = Path(__file__).resolve().parents[3]
ADDRESS = re.compile(
    r"github(?:\.com)?/[\w.-]+/deepseek_learn\b|colab-badge|colab\.research\.google\.com/github/"
)
ELSEWHERE = {".git", "_build", ".venv", "tests", "node_modules", "zoo_runs"}
SHOWN = {".md", ".ipynb", ".yml", ".toml", ".cff", ".html", ".svg", ".sh", ".txt", ""}
NEW = "https://github.com/new-owner/deepseek_learn"


def addresses(root: Path) -> dict[str, int]:
    """File → number of this course's addresses in it, omitting files with none."""
    counts = {}
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.suffix in SHOWN and path.is_file() and not ELSEWHERE & {*name.parts}:
            text = path.read_text("utf-8", errors="replace")
            counts[name.as_posix()] = len(ADDRESS.findall(text))
    return {name: count for name, count in counts.items() if count}


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the files that `links.write` updates."""
    for path in links._files(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def publish(monkeypatch, address: str | None) -> None:
    monkeypatch.setattr(links, "repository", lambda: address)


@pytest.mark.slow
def test_no_file_shows_an_address_while_there_is_none():
    shown = addresses(ROOT)
    if links.repository() is None:
        assert shown == {}
    else:
        lessons = list(ROOT.glob("notebooks/*/*.ipynb"))
        assert set(shown) >= {"README.md", "README.zh.md", "CITATION.cff"}
        assert len(shown) > 3 * len(lessons)  # and both languages' exercises


def test_the_count_finds_each_form_of_address(tmp_path):
    for number, line in enumerate(
        (
            f"[a]({NEW}/issues)",
            "https://colab.research.google.com/github/me/it/blob/main/x.ipynb",
            "![b](https://colab.research.google.com/assets/colab-badge.svg)",
            "deepseek-learn @ git+https://github.com/OWNER/deepseek_learn@main",
        )
    ):
        (tmp_path / f"{number}.md").write_text(line)
    (tmp_path / "other.md").write_text("https://github.com/elpv/elpv-dataset")
    assert set(addresses(tmp_path)) == {f"{n}.md" for n in range(4)}


@pytest.mark.slow
def test_one_setting_brings_every_address_and_takes_it_away(copy, monkeypatch):
    publish(monkeypatch, None)
    links.write(copy)
    before = {path: path.read_bytes() for path in links._files(copy)}
    assert addresses(copy) == {}

    publish(monkeypatch, NEW)
    stale = links.write(copy, check=True)
    assert addresses(copy) == {}, "check wrote"
    assert links.write(copy) == stale
    shown = addresses(copy)
    assert shown["CITATION.cff"] == 1
    lessons = [*copy.glob("notebooks/*/*.ipynb"), *copy.glob("zh/notebooks/*/*.ipynb")]
    for path in lessons:  # the badge's image, its link, the install cell
        place, text = path.relative_to(copy).as_posix(), path.read_text("utf-8")
        assert shown[place] == 3, path
        assert f"/github/new-owner/deepseek_learn/blob/main/{place})" in text
        assert f"deepseek-learn @ git+{NEW}@main" in text
    for readme, folder in (("README.md", ""), ("README.zh.md", "zh/")):
        text = (copy / readme).read_text("utf-8")
        assert f"/blob/main/{folder}notebooks/basic/00_tour.ipynb" in text
        assert ".whl" not in text
    assert links.write(copy, check=True) == []

    publish(monkeypatch, None)
    links.write(copy)
    assert {path: path.read_bytes() for path in links._files(copy)} == before


def test_another_address_replaces_the_old_one(copy, monkeypatch):
    publish(monkeypatch, "https://github.com/old/name")
    links.write(copy)
    publish(monkeypatch, NEW)
    links.write(copy)
    for path in links._files(copy):
        assert "old/name" not in path.read_text("utf-8"), path


def test_a_translation_stays_in_step_when_the_address_changes(monkeypatch):
    publish(monkeypatch, None)
    page = (ROOT / "README.md").read_text("utf-8")
    without = links._updated(page, "README.md")
    publish(monkeypatch, NEW)
    assert (with_one := links._updated(page, "README.md")) != without
    assert digest(with_one) == digest(without)
    assert digest(f"{without}.") != digest(without)


@pytest.mark.parametrize(
    "address", ["https://github.com/...", "github.com/me/it", "https://example.org/a/b"]
)
def test_an_address_that_colab_cannot_open_is_refused(tmp_path, monkeypatch, address):
    text = f'[project]\n[project.urls]\nRepository = "{address}"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(links, "REPOSITORY", tmp_path)
    with pytest.raises(DeepSeekLearnError, match=r"Repository.*must be https://github"):
        links.repository()


def test_the_address_is_read_from_the_checkout_or_the_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "REPOSITORY", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert links.repository() is None
    text = f'[project]\n[project.urls]\nRepository = "{NEW}"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert links.repository() == NEW
    (tmp_path / "pyproject.toml").unlink()
    metadata = type("Metadata", (), {})()
    metadata.get_all = lambda name: ["Issues, x", f"Repository, {NEW}"]
    monkeypatch.setattr(links.metadata, "metadata", lambda name: metadata)
    assert links.repository() == NEW
    metadata.get_all = lambda name: None
    assert links.repository() is None
