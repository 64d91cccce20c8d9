"""The certificate as pictures: an SVG that carries the credential, and a PDF."""

from html import escape

from ...errors import require
from .credential import Certificate
from .pdf import WIDE, document

WIDTH, LINE, LETTERS = 900, 26, 88  # pixels, pixels, letters of a line
GAP = 14  # between the paragraphs of the PDF
# two arrows in a circle: what counts is what happens when it is run again
AGAIN = (
    '<path d="M428 72 a26 26 0 0 1 46 2 m0 -16 v17 h-17"/>'
    '<path d="M472 96 a26 26 0 0 1 -46 -2 m0 16 v-17 h17"/>'
)


def svg(certificate: Certificate, token: str) -> bytes:
    """Return the certificate as an SVG with the credential baked into it."""
    baking = require(
        "openbadgeslib.baking", extra="certificate", purpose="a certificate"
    )
    return baking.bake_svg(
        _drawing(certificate).encode(),
        token,
        element=baking.SVG_ELEMENT_OB3,
        namespace=baking.SVG_NS_OB3,
    )


def _drawing(certificate: Certificate) -> str:
    y, rows = 150, []
    for size, words in paragraphs(certificate):
        for line in wrapped(words, round(LETTERS * 17 / size)):
            rows.append(
                f'<text x="450" y="{y}" font-size="{size}" text-anchor="middle">'
                f"{escape(line)}</text>"
            )
            y += round(LINE * size / 17)
        y += 14
    words = escape(" ".join(certificate.lines()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 70}" '
        f'viewBox="0 0 {WIDTH} {y + 70}" role="img" aria-label="{words}" '
        f'font-family="DejaVu Sans, Noto Sans CJK SC, sans-serif" fill="#1b2a41">'
        f'<rect width="100%" height="100%" fill="#fdfcf7"/>'
        f'<rect x="24" y="24" width="{WIDTH - 48}" height="{y + 22}" fill="none" '
        f'stroke="#2a6f97" stroke-width="3"/>'
        f'<g fill="none" stroke="#2a6f97" stroke-width="5">{AGAIN}</g>'
        f"{''.join(rows)}</svg>"
    )


def pdf(certificate: Certificate) -> bytes:
    """Return the certificate as a PDF; the same certificate gives the same bytes."""
    lines: list[tuple[float, str]] = []
    for size, words in paragraphs(certificate):
        rows = wrapped(words, round(LETTERS * 17 / size))
        lines += [*((size, row) for row in rows), (GAP, "")]
    return document(certificate.title, lines)


def paragraphs(certificate: Certificate) -> list[tuple[int, str]]:
    """Return (size, words) of each paragraph."""
    title, name, *body = certificate.lines()
    return [(26, title), (34, name), *((15, words) for words in body)]


def wrapped(words: str, letters: int) -> list[str]:
    """Break words into lines; Chinese has no spaces and may break anywhere."""
    lines, line, width = [], "", 0
    for piece in pieces(words):
        size = sum(1 + (ord(letter) >= WIDE) for letter in piece)
        if line and width + size - piece.endswith(" ") > letters:
            lines.append(line.strip())
            line, width = "", 0
        line, width = line + piece, width + size
    return [*lines, line.strip()]


def pieces(words: str) -> list[str]:
    result = [""]
    for letter in words:
        if ord(letter) >= WIDE:
            result.append(letter)
        else:
            result[-1] += letter
            if letter == " ":
                result.append("")
    return result
