"""A stranger's text reaches a terminal and a page as nothing but text."""

import pytest

from deepseek_learn.escaping import markdown, printable, printable_lines

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "a\nb\r\x85\u2028c",
    "\u202eecilA\u2066",
    "\x9b31m",
    "\u200b\ufeff\U000e0041",
)


@pytest.mark.parametrize("words", HOSTILE)
def test_control_characters_are_made_visible(words):
    assert printable(words).isprintable()
    assert markdown(words).isprintable()
    assert all(line.isprintable() for line in printable_lines(words).split("\n"))


def test_text_that_is_visible_stays_as_it_is():
    words = "Größe 平衡准确率 (50 %), e.g. 1+1 — “quoted”"
    assert printable(words) == markdown(words) == words
    assert printable("a\x1b[2J\u202eb\n") == "a\\x1b[2J\\u202eb\\n"
    assert printable_lines("a\r\nb\n\tc") == "a\nb\n        c"


def test_text_is_cut():
    assert printable("x" * 10**6) == "x" * 200 + "..."


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a | b | c",
        "`code` and ``more``",
        "[link](javascript:alert(1)) ![picture](http://x/y.png)",
        "{raw}`html` {{ substitution }} $math$ ~~a~~ **b** _c_ \\| &lt;b&gt;",
        "www.example.org http://example.org <http://example.org> a@example.org",
    ],
)
def test_markdown_and_html_show_the_text_as_it_is(words):
    """Parsed with the extensions of MyST, it is one cell with nothing but the text."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    parser.enable(["table", "strikethrough"])
    dollarmath = pytest.importorskip("mdit_py_plugins.dollarmath").dollarmath_plugin
    role = pytest.importorskip("mdit_py_plugins.myst_role").myst_role_plugin
    parser.use(dollarmath).use(role)
    tokens = parser.parse(f"| head |\n| --- |\n| {markdown(words)} |\n")
    cells = [t for t in tokens if t.type == "inline"]
    assert len(cells) == 2
    kinds = {child.type for child in cells[1].children}
    assert kinds <= {"text", "text_special"}
    assert "".join(child.content for child in cells[1].children) == words
