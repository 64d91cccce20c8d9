"""The book builds, has all its pages, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from deepseek_learn.course.authoring.book import BookError, build
from deepseek_learn.course.authoring.links import colab, repository
from deepseek_learn.errors import MissingPackageError

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?:https?:)?//"""
    r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|preload|modulepreload))"""
    r"""[^>]*\bhref=["'](?:https?:)?//"""
)
# a URL of the course, and the one that Jupyter Book shows by default
DEAD = re.compile(
    r"github(?:\.com)?/[\w.-]+/deepseek_learn\b|github\.com/executablebooks/jupyter-book"
    r"|https://colab\.research\.google\.com/\w"
)
BOTH = ("book/intro", "book/how_to_use", "book/syllabus", "book/basic")
BOTH += ("book/claims", "book/find_it", "book/versus")


def named_in(toc) -> set[str]:
    """The pages that a `_toc.yml` lists by name."""
    parts = yaml.safe_load(toc.read_text("utf-8"))
    chapters = [chapter for part in parts["parts"] for chapter in part["chapters"]]
    chapters += [section for c in chapters for section in c.get("sections", ())]
    return {parts["root"], *(c["file"] for c in chapters if "file" in c)}


def test_every_page_exists(book, request):
    root = request.config.rootpath
    for folder, toc in ((book, root / "_toc.yml"), (book / "zh", root / "zh/_toc.yml")):
        pages = named_in(toc)
        assert pages >= set(BOTH)
        assert {p for p in pages if not (folder / f"{p}.html").is_file()} == set()
        assert list((folder / "exercises" / "basic").glob("*.html"))


def test_no_page_loads_from_elsewhere(book):
    pages = list(book.rglob("*.html"))
    assert len(pages) > 20
    loading = {
        p.name: result[0] for p in pages if (result := LOADED.search(p.read_text()))
    }
    assert loading == {}


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js">',
        '<link rel="stylesheet" href="//x.example/a.css">',
        '<link href="https://x.example/a.css" rel="stylesheet">',
    ],
)
def test_the_pattern_finds_what_it_should(tag):
    assert LOADED.search(tag)


def test_exercises_follow_their_lesson_and_progress_is_left_out(book):
    lesson = (book / "notebooks" / "basic" / "00_tour.html").read_text("utf-8")
    assert "exercises/basic/00_tour.html" in re.search(r'"right-next"[^>]*', lesson)[0]
    for page in book.rglob("*.html"):
        if {"notebooks", "exercises"} & {parent.name for parent in page.parents}:
            shown = re.sub(r"<[^>]+>", "", page.read_text("utf-8"))
            assert "course.progress(" not in shown, page


def test_code_and_data_of_the_site_are_in_the_book(book):
    static = book / "_static"
    assert (static / "vendor" / "plotly.min.js").stat().st_size > 1e6
    assert (static / "mathjax" / "tex-chtml.js").is_file()
    assert list(static.glob("mathjax/output/chtml/fonts/woff-v2/*.woff"))
    for script in ("figures.js", "ledger.js"):
        assert (static / script).is_file()
    assert not list(book.rglob("*thebe*.html"))


def test_the_language_link_is_only_where_the_page_exists(book):
    for page in book.rglob("*.html"):
        text = page.read_text()
        link = re.search(r'<a class="btn btn-sm lang-switch"[^>]*href="([^"]+)"', text)
        name = page.relative_to(book).as_posix()
        other = book / (name.removeprefix("zh/") if name[:3] == "zh/" else f"zh/{name}")
        is_ours = re.match(r"(zh/)?(book|notebooks|exercises)/", name)
        assert bool(link) == bool(is_ours and other.is_file()), name
        if link:
            assert (page.parent / link[1]).resolve() == other.resolve()


def test_no_link_inside_the_book_is_dead(book):
    dead = set()
    for page in book.rglob("*.html"):
        for href in re.findall(r"""<a\b[^>]*\bhref=["']([^"'#?]+)""", page.read_text()):
            if not re.match(r"[a-z]+:", href) and not (page.parent / href).exists():
                dead.add((page.relative_to(book).as_posix(), href))
    assert dead == set()


def test_buttons_lead_to_the_address_or_are_not_there(book):
    if (address := repository()) is None:
        pages = {path: path.read_text("utf-8") for path in book.rglob("*.html")}
        assert {
            p.name: result for p, t in pages.items() if (result := DEAD.findall(t))
        } == {}
    for edition in ("", "zh/"):
        path = f"{edition}notebooks/basic/00_tour"
        page = (book / f"{path}.html").read_text()
        assert "00_tour.ipynb" in re.findall(r'href="[^"]*_sources/[^"]*"', page)[0]
        if address:
            assert colab(f"{path}.ipynb") in page
            assert f'href="{address}"' in page


def test_the_books_buttons_follow_the_setting(tmp_path, monkeypatch, extension):
    extension = extension("settings")
    monkeypatch.setattr(extension, "ROOT", tmp_path)
    (tmp_path / "zh").mkdir()
    for text in ("", '[project.urls]\nRepository = "https://github.com/me/it"\n'):
        (tmp_path / "pyproject.toml").write_text(f"[project]\n{text}")
        colab = {"colab_url": "https://colab.research.google.com"}
        options = {"use_repository_button": True, "launch_buttons": colab}
        config = SimpleNamespace(html_theme_options=options)
        extension.set_repository(SimpleNamespace(srcdir=tmp_path / "zh"), config)
        chosen = config.html_theme_options
        assert bool(chosen["launch_buttons"]) == bool(text)
        assert chosen["use_repository_button"] == bool(text)
        address = "https://github.com/me/it" if text else ""
        assert chosen["repository_url"] == address


@pytest.mark.parametrize(("language", "word"), [("en", "tested"), ("zh_CN", "测试")])
def test_the_footer_dates_the_last_monthly_run(
    language, word, tmp_path, monkeypatch, extension
):
    extension = extension("settings")
    monkeypatch.setattr(extension, "ROOT", tmp_path)
    config = SimpleNamespace(html_theme_options={}, language=language)
    extension.set_last_run(None, config)
    assert config.html_theme_options == {}  # no run has passed yet
    (tmp_path / "book").mkdir()
    makefile = Path(__file__).parents[2] / "Makefile"
    subprocess.run(["make", "-f", makefile, "last-run"], cwd=tmp_path, check=True)
    extension.set_last_run(None, config)
    footer = config.html_theme_options["extra_footer"]
    assert word in footer
    assert re.search(r"\b20\d\d-\d\d-\d\d$", footer)


def test_every_page_has_the_footer_of_a_run_that_passed(book, request):
    passed = (request.config.rootpath / "book" / "last_run.json").is_file()
    for page in ("book/intro", "zh/book/intro"):
        assert ("extra_footer" in (book / f"{page}.html").read_text()) == passed


def test_the_api_reference_has_a_page_per_module_and_lists_all_names(book):
    for edition in ("", "zh/"):
        index = (book / f"{edition}book/api.html").read_text()
        for name in ("attention.SpatialChannelAttention", "data.load", "training.fit"):
            page = f"api/{name.split('.')[0]}.html"
            text = (book / f"{edition}book" / page).read_text()
            assert f'id="deepseek_learn.{name}"' in text
            assert index.count(f'href="{page}#deepseek_learn.{name}"') == 1


def test_a_link_into_the_former_single_page_leads_on(book, browser):
    with browser.new_page() as tab:
        tab.goto((book / "book/api.html").as_uri() + "#deepseek_learn.dpg.compress")
        tab.wait_for_url("**/book/api/dpg.html#deepseek_learn.dpg.compress")
        assert tab.locator("[id='deepseek_learn.dpg.compress']").count() == 1


def test_every_public_module_has_a_page_in_the_api_reference(request):
    """`solutions` is described by the pages of its industries."""
    import deepseek_learn

    for edition in ("", "zh"):
        folder = request.config.rootpath / edition / "book" / "api"
        pages = {path.stem for path in folder.glob("*.md")}
        assert pages == {*deepseek_learn._MODULES, "errors"} - {"solutions"}


def test_find_it_shows_papers_files_lessons_and_scripts(book):
    for edition in ("", "zh/"):
        page = (book / f"{edition}book/find_it.html").read_text()
        assert 'href="https://arxiv.org/abs/2210.17323"' in page
        assert "gptq.py" in page
        assert "dpg_quality" in page
        assert re.search(
            r"""href=["']\.\./notebooks/basic/03_quantization.html["']""", page
        )
        assert "<!-- find-it -->" not in page


def test_the_leaderboard_shows_the_table_of_each_track(book):
    for edition, words in (("", "Sensitivity: squared"), ("zh/", "敏感度：梯度")):
        page = (book / f"{edition}book/leaderboard.html").read_text()
        assert "<!-- leaderboard" not in page
        assert words in page
        for entry in ("SE: ", "DeepOpt", "GeneticSampler"):
            assert entry.replace(": ", "：" if edition else ": ") in page


def test_a_warning_is_an_error_and_the_old_book_stays(tmp_path):
    (tmp_path / "_config.yml").write_text("title: x\nlogo: ''\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "intro.md").write_text("# x\n\n[nowhere](nowhere.md)\n")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "old.html").write_text("old")
    with pytest.raises(BookError, match=r"nowhere\.md"):
        build(tmp_path, "html")
    assert [p.name for p in (tmp_path / "html").iterdir()] == ["old.html"]
    assert not list(tmp_path.glob(".book-*"))


def test_no_table_of_contents_gets_a_sentence(tmp_path):
    with pytest.raises(BookError, match="built from a clone"):
        build(tmp_path)


def test_a_missing_builder_gets_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jupyter_book", None)
    with pytest.raises(MissingPackageError, match=r"\[course\]"):
        build(tmp_path)


def test_importing_the_builder_is_light():
    module = "deepseek_learn.course.authoring.book"
    code = f"import sys, {module}; print('sphinx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
