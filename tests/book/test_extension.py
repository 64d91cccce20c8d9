"""The book's extension, by concern: figures' texts, tables, sources, search."""

import json
import re
import shutil
import subprocess

import pytest
from docutils import nodes
from docutils.utils import new_document

from tests.services import absent

PLOT = {"data": [], "layout": {"title": {"text": "Bits <b>per</b> layer"}}}


@pytest.fixture
def figures(extension):
    return extension("figures")


def described(figures, *parts) -> list[str]:
    """The texts of a page's figures, which consists of `parts` under a heading."""
    document = new_document("page")
    document += nodes.section("", nodes.title("", "See it"), *parts)
    figures.describe_figures(None, document)
    images = [node["alt"] for node in document.findall(nodes.image)]
    raws = [node.astext() for node in document.findall(nodes.raw)]
    labels = [re.search(r'(?:aria-label|alt)="([^"]*)"', raw) for raw in raws]
    return images + [label[1] for label in labels if label]


def output(*children) -> nodes.container:
    return nodes.container("", *children, classes=["cell_output"])


def plotly(figures, layout) -> nodes.raw:
    class Data:
        mime_type = figures.PLOTLY
        content = {"data": [], "layout": layout}

    return figures.PlotlyMime.handle_mime(None, Data, inline=False)[0]


def test_a_picture_is_described_by_the_sentence_before_it(figures):
    text = nodes.paragraph("", "Look closely. Each row is one photograph:")
    printed = output(nodes.paragraph("", "printed by the cell"))
    texts = described(figures, text, printed, output(nodes.image(uri="a.png")))
    assert texts == ["See it: Each row is one photograph"]


def test_a_text_of_its_own_is_left_alone_and_none_is_empty(figures):
    images = nodes.image(uri="a.png", alt="mine"), nodes.image(uri="b.png", alt=" ")
    assert described(figures, *images) == ["mine", "See it"]


def test_figures_of_one_text_are_numbered(figures):
    images = [output(nodes.image(uri=f"{i}.png")) for i in range(3)]
    assert described(figures, *images) == ["See it", "See it (2)", "See it (3)"]


def test_a_plot_is_described_by_its_title_or_the_text_and_its_axes(figures):
    axes = {"xaxis": {"title": {"text": "bits"}}, "yaxis": {"title": "error"}}
    titled = plotly(figures, {"title": {"text": 'Bits <b>per</b> "layer"'}} | axes)
    text = nodes.paragraph("", "误差随位数下降。更多的位数更准。")
    labels = described(figures, text, output(titled), output(plotly(figures, axes)))
    assert labels[0] == "Bits  per  &quot;layer&quot;"
    assert labels[1] == "See it: 更多的位数更准。 – bits; error"


def test_a_picture_inside_html_is_described_too(figures):
    raw = nodes.raw(
        "", '<p><img src="a.png"><img alt="b" src="b.png"></p>', format="html"
    )
    assert described(figures, raw) == ["See it"]
    assert 'alt="b"' in raw.astext()


def test_a_long_text_is_cut_at_a_word(figures):
    text = figures.caption("See it", "word " * 100)
    assert len(text) <= figures.LONGEST + 2
    assert text.endswith("word …")


TABLE = """<table class="dataframe"><thead><tr><th></th><th>loss</th><th>why</th></tr>
</thead><tbody><tr><th>a</th><td>−1.5e-3</td><td>it overfits</td></tr>
<tr><th>b</th><td>12 %</td><td>–</td></tr></tbody></table>"""


def test_columns_of_words_are_marked_and_columns_of_numbers_are_not(extension):
    marked = extension("tables").mark_words(TABLE)
    words = re.findall(r'<t[dh] class="words">([^<]*)<', marked)
    assert words == ["why", "it overfits", "–"]
    assert "<td>−1.5e-3</td>" in marked


def test_a_styled_table_looks_like_the_others(extension):
    styled = TABLE.replace(' class="dataframe"', ' id="T_1"')
    styled = styled.replace("<th>why", '<th class="col_heading">why')
    marked = extension("tables").mark_words(styled)
    assert 'class="dataframe"' in marked
    assert marked.count("words") == 3
    plain = "<table><tbody><tr><td>a word</td></tr></tbody></table>"
    assert extension("tables").mark_words(plain) == plain


def test_a_header_cell_without_a_text_is_a_plain_one(extension):
    repaired = extension("accessibility").without_empty_headers
    assert repaired('<th class="a"><p> </p></th>') == '<td class="a"><p> </p></td>'
    assert repaired("<thead><tr><th>&nbsp;</th>") == "<thead><tr><td>&nbsp;</td>"
    assert (
        repaired("<th>loss</th><th><p>a</p></th>") == "<th>loss</th><th><p>a</p></th>"
    )


def test_the_install_cell_and_the_marks_are_not_in_the_book(extension):
    cells = [
        {"cell_type": "code", "source": ["%pip x"], "metadata": {"tags": ["setup"]}},
        {
            "cell_type": "code",
            "source": ["# NBVAL_CHECK_OUTPUT\n", "1"],
            "metadata": {},
        },
        {"cell_type": "markdown", "source": "# NBVAL_CHECK_OUTPUT is kept here"},
    ]
    source = json.dumps({"cells": cells})
    setup, code, text = json.loads(extension("sources").without_machinery(source))[
        "cells"
    ]
    assert "remove-cell" in setup["metadata"]["tags"]
    assert code["source"] == "1"
    assert text["source"] == cells[2]["source"]


def test_british_forms_come_from_the_glossary(extension):
    search = extension("search")
    forms = search.british()
    assert forms["quantisation"] == "quantization"
    assert len(forms) > 50
    assert all(ours != theirs for ours, theirs in forms.items())
    for language in (search.English, search.Chinese):
        stem = language({}).stem
        assert stem("Quantisation") == stem("quantization")
        assert stem("quantisation") != stem("sensation")


def test_chinese_is_cut_into_words(extension):
    words = extension("search").Chinese({}).split("量化误差随位数下降，KL 也一样")
    assert {"量化", "误差", "KL"} <= set(words)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("量化", ["量化"]),
        ("量化误差", ["量化", "误差"]),
        ("动态参数分组", ["动态", "参数分组"]),
        ("KL散度 bits", ["KL", "散度", "bits"]),
        ("囧", ["囧"]),  # unknown: searched for as it is
    ],
)
def test_a_query_is_cut_into_words_of_the_index(extension, query, words):
    if not (node := shutil.which("node")):
        absent("Node.js is not on the PATH")
    known = ["量化", "误差", "动态", "参数", "参数分组", "散度"]
    index = {"terms": dict.fromkeys(known, 0), "titleterms": {}}
    code = f"const Search = {{_index: {json.dumps(index)}}};"
    code += extension("search").SPLITTER
    code += f"console.log(JSON.stringify(splitQuery({json.dumps(query)})))"
    done = subprocess.run(
        [node, "-e", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == words


def test_a_toggle_of_the_contents_has_a_name(extension):
    contents = (
        '<li><a href="first.html">First</a></li>\n'
        '<li><a class="x" href="tour.html">A <b>&lt;tour&gt;</b></a><details><summary>'
        '<span></span></summary><ul></ul></details></li><li><a href="#">Plain</a></li>'
    )
    named = extension("accessibility").with_named_toggles(contents, "en")
    label = 'aria-label="Show or hide the pages below “A &lt;tour&gt;”"'
    assert named == contents.replace("<summary>", f"<summary {label}>")
