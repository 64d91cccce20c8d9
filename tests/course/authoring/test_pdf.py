"""Joining the pages of a book into one that prints: order, ids, links, headings."""

import pytest
from bs4 import BeautifulSoup

from deepseek_learn.course.authoring import pdf
from deepseek_learn.errors import DeepSeekLearnError

SIDEBAR = """<nav class="bd-links"><a class="reference internal" href="#">Front</a>
<p class="caption">Lessons</p><ul>
<li><a class="reference internal" href="../notebooks/b.html">B</a></li>
<li><a class="reference internal" href="../notebooks/a.html">A</a></li></ul></nav>"""
PAGES = {
    "book/intro": '<h1 id="top">Front</h1><p>see <a href="../notebooks/a.html#x">A</a></p>'
    + pdf.how_to("en"),
    "notebooks/b": '<h1>B<a class="headerlink" href="#b">#</a></h1><pre>code</pre>'
    '<details><summary>more</summary>inside</details><a href="../_sources/b.txt">s</a>',
    "notebooks/a": '<h1>A</h1><h2 id="x">x</h2><img src="../_images/p.png" alt="p">'
    '<a href="#x">there</a><a href="https://arxiv.org/abs/1">paper</a>',
}


@pytest.fixture
def built(tmp_path):
    """A book of three pages, as the theme writes them."""
    for name, content in PAGES.items():
        path = tmp_path / f"{name}.html"
        path.parent.mkdir(exist_ok=True)
        style = '<link rel="stylesheet" href="../_static/course.css">'
        body = f'{SIDEBAR}<article class="bd-article">{content}</article>'
        path.write_text(f"<html><head>{style}</head><body>{body}</body></html>")
    return tmp_path


@pytest.fixture
def joined(built):
    return BeautifulSoup(pdf.join(built, "en"), "html.parser")


def test_the_pages_stand_in_the_order_of_the_contents(built, joined):
    names = ["book/intro", "notebooks/b", "notebooks/a"]
    assert [page.name for page in pdf.pages(built)] == names
    assert [article["id"] for article in joined.find_all("article")] == names
    listed = [a["href"] for a in joined.select("nav.book-contents a")]
    assert listed == [f"#{name}" for name in names]
    assert joined.select_one("h1.part").get_text() == "Lessons"


def test_every_link_inside_leads_to_a_place_that_is_there(joined):
    ids = {node["id"] for node in joined.select("[id]")}
    inside = [a["href"] for a in joined.select("a[href^='#']")]
    assert {"#notebooks/a--x"} <= set(inside)
    assert {link[1:] for link in inside} <= ids
    assert joined.find("a", string="paper")["href"] == "https://arxiv.org/abs/1"
    assert not joined.find("a", string="s").has_attr("href")


def test_files_are_found_from_the_books_folder(joined):
    assert joined.find("img", alt="p")["src"] == "_images/p.png"
    sheets = [link["href"] for link in joined.select("link[rel=stylesheet]")]
    assert sheets == ["_static/course.css", "_static/print.css"]


def test_what_a_page_folds_is_open_and_its_headings_go_below_the_part(joined):
    assert joined.find("details").has_attr("open")
    assert not joined.select(".headerlink")
    assert joined.find("article", id="notebooks/a").find("h3")["id"] == "notebooks/a--x"


def test_the_front_page_links_the_file_once_it_is_there(built):
    front = built / "book" / "intro.html"
    assert "make pdf" in front.read_text()
    (built / pdf.NAME).write_bytes(b"%PDF" + bytes(3_000_000))
    pdf.link(built, "en")
    assert "href='../deepseek_learn.pdf'" in front.read_text()
    assert "(3 MB)" in front.read_text()
    assert "make pdf" not in front.read_text()


def test_a_book_that_is_not_built_is_one_sentence(tmp_path):
    pytest.importorskip("playwright")
    with pytest.raises(DeepSeekLearnError, match="build it first, with `make book`"):
        pdf.make(tmp_path)
