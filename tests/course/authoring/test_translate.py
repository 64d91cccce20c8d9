"""The two editions stay in sync: what may differ, what must not, what is reported."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from deepseek_learn.course.authoring import translate
from deepseek_learn.course.authoring.declared import TranslationError
from deepseek_learn.course.authoring.lock import accept
from deepseek_learn.course.authoring.translate import check, sync
from deepseek_learn.errors import DeepSeekLearnError

TOUR = "notebooks/basic/00_tour.ipynb"
START = """# set up
%pip install -q x
from deepseek_learn import course
course.start("tour")"""


def write(path, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def tree(tmp_path):
    """Two pages and a notebook, translated and in sync."""
    (tmp_path / "zh").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "zh" / "translated.toml").write_text(
        f'pages = ["README.md", "book/intro.md"]\nnotebooks = ["{TOUR}"]\n'
    )
    (tmp_path / "README.md").write_text("# Read me\n")
    (tmp_path / "book" / "intro.md").write_text("# Intro\n\nHello.\n")
    start = new_code_cell(START, id="start", metadata={"tags": ["start"]})
    cells = [
        new_markdown_cell("# The tour", id="title"),
        start,
        new_code_cell("x = 1  # one", id="one"),
    ]
    write(tmp_path / TOUR, cells)
    sync(tmp_path)
    accept(tmp_path, ["all"])
    return tmp_path


def edit(path, cell_id, source):
    notebook = read(path)
    next(c for c in notebook.cells if c.id == cell_id).source = source
    nbformat.write(notebook, path)


def test_in_step_passes_and_syncs_nothing(tree):
    assert check(tree) == []
    assert sync(tree) == []
    assert (tree / "README.zh.md").exists()


def test_sync_sets_the_language_of_the_start_cell(tree):
    start = read(tree / "zh" / TOUR).cells[1].source
    assert 'course.start("tour", lang="zh")' in start


def test_comments_may_be_translated(tree):
    edit(tree / "zh" / TOUR, "one", "x = 1  # 一")
    assert check(tree) == []
    sync(tree)
    assert "一" in read(tree / "zh" / TOUR).cells[2].source


@pytest.mark.parametrize(
    ("cell_id", "source"),
    [
        ("one", "x = 2  # one"),
        ("one", 'x = 1  # one\nprint(x, lang="zh")'),
        ("start", START.replace("%pip install -q x", "%pip install -q y")),
        ("start", START.replace('"tour"', '"other"')),
    ],
)
def test_changed_code_is_told_and_synced(tree, cell_id, source):
    edit(tree / TOUR, cell_id, source)
    assert check(tree) == [f"{TOUR}, cell {cell_id!r}: the code differs."]
    assert sync(tree) == [tree / "zh" / TOUR]
    assert check(tree) == []


def test_outputs_are_not_copied_but_kept_while_the_code_is_the_same(tree):
    def printed(path):
        return [out.text for out in read(path).cells[2].outputs]

    for path, text in ((tree / TOUR, "english"), (tree / "zh" / TOUR, "chinese")):
        notebook = read(path)
        notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text=text)]
        nbformat.write(notebook, path)
    sync(tree)
    assert printed(tree / "zh" / TOUR) == ["chinese"]
    edit(tree / TOUR, "one", "x = 3")
    sync(tree)
    assert printed(tree / "zh" / TOUR) == []


def test_stale_text_cell_is_told_until_accepted(tree):
    edit(tree / "zh" / TOUR, "title", "# 导览")
    edit(tree / TOUR, "title", "# The long tour")
    told = [f"{TOUR}:title: the translation is out of date."]
    assert check(tree) == told
    sync(tree)  # sync cannot translate, and must not lose the translation
    assert check(tree) == told
    assert read(tree / "zh" / TOUR).cells[0].source == "# 导览"
    accept(tree, [f"{TOUR}:title"])
    assert check(tree) == []


def test_missing_and_new_cells_are_told(tree):
    notebook = read(tree / TOUR)
    notebook.cells.append(new_markdown_cell("More.", id="more"))
    nbformat.write(notebook, tree / TOUR)
    assert f"{TOUR}: the editions differ in their cells (more)." in check(tree)
    sync(tree)
    assert check(tree) == [f"{TOUR}:more: not translated yet."]


@pytest.mark.parametrize("name", ["README.md", "book/intro.md"])
def test_stale_page_is_told_until_accepted(tree, name):
    (tree / name).write_text("# Changed\n")
    told = [f"{name}: the translation is out of date."]
    assert check(tree) == told
    sync(tree)
    assert check(tree) == told
    accept(tree, [name])
    assert check(tree) == []


def test_missing_edition_is_told(tree):
    (tree / "README.zh.md").unlink()
    (tree / "zh" / TOUR).unlink()
    assert [told for told in check(tree) if "there is no Chinese edition" in told] == [
        "README.md: there is no Chinese edition.",
        f"{TOUR}: there is no Chinese edition.",
    ]


def test_undeclared_page_is_told(tree):
    (tree / "zh" / "book" / "stray.md").write_text("# x\n")
    assert check(tree) == ["zh/book/stray.md: not declared in zh/translated.toml."]


def test_bad_declaration_gets_a_sentence(tree):
    with pytest.raises(DeepSeekLearnError, match=r"'book/none.md' is not a translated"):
        accept(tree, ["book/none.md"])
    (tree / "book" / "intro.md").unlink()
    with pytest.raises(TranslationError, match=r"declares 'book/intro.md', which"):
        check(tree)
    (tree / "zh" / "translated.toml").unlink()
    with pytest.raises(TranslationError, match=r"is missing"):
        check(tree)


def test_the_repository_is_in_step(request):
    root = request.config.rootpath
    assert translate.check(root) == []


def test_changed_code_in_a_page_is_told(tree):
    english, chinese = tree / "book" / "intro.md", tree / "zh" / "book" / "intro.md"
    block = "\n```python\nf(1)  # one\ng(2)\n```\n"
    english.write_text(english.read_text() + block)
    chinese.write_text(english.read_text().replace("# one", "# 一"))
    accept(tree, ["book/intro.md"])
    assert check(tree) == []
    # a call swallowed by the preceding comment
    chinese.write_text(chinese.read_text().replace("# 一\n", "# 一 "))
    assert check(tree) == [
        "book/intro.md: the Python code differs from the English page."
    ]
