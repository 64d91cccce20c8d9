"""The visible text of an HTML page: what a person sees of it, and how much is hidden."""

import re
from collections import Counter
from html.parser import HTMLParser

BLOCKS = frozenset({
    "address", "article", "blockquote", "body", "br", "center", "dd", "div", "dl",
    "dt", "fieldset", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hr", "li", "ol", "option", "p", "pre", "section", "table", "td", "th", "title",
    "tr", "ul",
})  # fmt: skip
UNSEEN = frozenset(["head", "script", "style", "template"])
EMPTY = frozenset({
    "br", "hr", "img", "input", "link", "meta", "area", "base", "col", "embed",
    "source", "wbr",
})  # fmt: skip
INVISIBLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden"
    r"|font-size\s*:\s*0*\.?0+\s*(?:px|pt|r?em|%)?\s*(?:[;!]|$)"
)
# elements that the next of their kind closes
CLOSED = frozenset(["p", "td", "th", "tr", "li", "dt", "dd", "option"])


def parse_page(text: str) -> "ParsedPage":
    """Parse an HTML page."""
    try:
        return ParsedPage(text)
    except AssertionError:  # a declaration that the parser does not know
        return ParsedPage(text.replace("<![", " "))


class ParsedPage(HTMLParser):
    """A parsed HTML page.

    Attributes:
        links, images: their numbers.
        hidden: the number of letters in elements that a style hides.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.links = self.images = self.hidden = 0
        self.unseen: list[str] = []  # the open elements inside an invisible one
        self.open: Counter[str] = Counter()  # how often each is in `unseen`
        self.feed(f"{text}\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.links += tag == "a" and bool(attributes.get("href"))
        self.images += tag == "img"
        if tag in BLOCKS:
            self.pieces.append("\n")
            if self.open["head"] and tag != "title":
                self.handle_endtag("head")
        if tag in CLOSED and self.unseen and self.unseen[-1] == tag:
            self.handle_endtag(tag)
        if tag == "body":
            self.unseen.clear()
            self.open.clear()
            return
        style = attributes.get("style", "").lower()
        hides = tag in UNSEEN or INVISIBLE.search(style)
        if tag not in EMPTY and (hides or self.unseen):
            self.unseen.append(tag)
            self.open[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")
        if self.open[tag]:
            while True:
                last = self.unseen.pop()
                self.open[last] -= 1
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.pieces.append(data)
        elif not any(self.open[name] for name in UNSEEN):
            self.hidden += sum(c.isalpha() for c in data)

    def visible(self) -> str:
        """Return the text that is seen, one line per block."""
        lines = (" ".join(line.split()) for line in "".join(self.pieces).split("\n"))
        return "\n".join(line for line in lines if line)
