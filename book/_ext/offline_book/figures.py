"""Figures: plotly's, drawn by `figures.js`, and a text for each that cannot be seen.

The text of a figure is its title, or else the last sentence before it, after the heading
of its section. For a plotly figure without a title, the names of its axes follow.
"""

import json
import re
from html import escape, unescape

import myst_nb.core.render
from docutils import nodes

PLOTLY = "application/vnd.plotly.v1+json"
LABEL = 'aria-label=""'  # filled in once the whole page has been read
MARKUP = re.compile(r"<[^>]+>")
SENTENCE = re.compile(r"(?<=[.!?。！？])\s*(?=[A-Z一-鿿])|(?<=[.!?])\s+")
IMAGE = re.compile(r"<img\b(?![^>]*\balt=)")
LONGEST = 220  # characters; a screen reader cannot skip within a text


class PlotlyMime:
    """MIME plugin: by itself, myst-nb drops plotly's type and shows nothing."""

    mime_priority_overrides = [("html", PLOTLY, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        """Return the figure as a `div` with its own JSON, or None for other types."""
        if inline or data.mime_type != PLOTLY:
            return None
        content = data.content
        figure = content if isinstance(content, dict) else json.loads(content)
        layout = figure.get("layout") or {}
        spec = {
            "data": figure.get("data") or [],
            "layout": layout,
            "frames": figure.get("frames") or [],
        }
        text = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
        html = (
            f'<div class="ds-plotly" role="figure" {LABEL}'
            f' style="min-height:{layout.get("height", 450)}px">'
            f'<script type="application/json">{text}</script></div>'
        )
        node = nodes.raw("", html, format="html", classes=["output", "plotly"])
        node["figure_title"], node["figure_axes"] = title_of(layout), axes_of(layout)
        return [node]


def install_plotly_mime() -> None:
    # The official route is an entry point, which only an installed distribution has.
    load = myst_nb.core.render.load_mime_renders
    myst_nb.core.render.load_mime_renders = lambda: [PlotlyMime, *load()]


def title_of(part: dict) -> str:
    """Return the title of a plotly layout or axis as plain text, or an empty string."""
    title = part.get("title") or ""
    text = title.get("text") or "" if isinstance(title, dict) else title
    return unescape(MARKUP.sub(" ", text)).strip()


def axes_of(layout: dict) -> str:
    """Return the names of a plotly figure's axes, such as "bits; error"."""
    names = [title_of(axis) for k, axis in layout.items() if re.match("[xy]axis", k)]
    return "; ".join(dict.fromkeys(filter(None, names)))


def describe_figures(app, doctree) -> None:
    """Give every figure of a page a text, from its title or the text before it."""
    heading = words = ""
    texts: list[str] = []
    for node in doctree.findall():
        if isinstance(node, nodes.title):
            heading, words = node.astext(), ""
        elif isinstance(node, nodes.paragraph | nodes.caption) and not _in_output(node):
            words = node.astext() or words
        elif isinstance(node, nodes.image) and not (node.get("alt") or "").strip():
            node["alt"] = _distinct(caption(heading, words), texts)
        elif isinstance(node, nodes.raw) and node.get("format") == "html":
            _describe_raw(node, caption(heading, words), texts)


def caption(heading: str, words: str) -> str:
    """Return the heading and the last sentence of `words`, cut at a word if too long."""
    sentences = [
        s.strip() for s in SENTENCE.split(" ".join(words.split())) if s.strip()
    ]
    parts = [heading, *sentences[-1:]] if heading else sentences[-1:]
    text = ": ".join(part.rstrip(":：") for part in parts if part)
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def _describe_raw(node: nodes.raw, text: str, texts: list[str]) -> None:
    html = node.astext()
    if LABEL in html:
        title, axes = node.get("figure_title", ""), node.get("figure_axes", "")
        text = _distinct(title or " – ".join(filter(None, (text, axes))), texts)
        html = html.replace(LABEL, f'aria-label="{escape(text)}"', 1)
    elif IMAGE.search(html):
        html = IMAGE.sub(lambda _: f'<img alt="{escape(_distinct(text, texts))}"', html)
    else:
        return
    node.rawsource = html
    node.children = [nodes.Text(html)]


def _distinct(text: str, texts: list[str]) -> str:
    """Return the text, numbered if an earlier figure of the page has it already."""
    texts.append(text)
    count = texts.count(text)
    return f"{text} ({count})" if count > 1 else text


def _in_output(node: nodes.Node) -> bool:
    while (node := node.parent) is not None:
        if "cell_output" in node.get("classes", ()):
            return True
    return False
