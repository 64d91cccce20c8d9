"""A PDF of one page, written so that the same lines give the same bytes everywhere.

Nothing is compressed and nothing is dated; libraries that draw PDFs change their bytes
with their versions, and a verifier could then not tell a changed page from a new one.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from .fonts import Font, dejavu

WIDTH, HEIGHT, MARGIN = 842, 595, 20  # points: A4, which grows with the lines
MARK, NEWLINE = "\ufeff", "\n"
WIDE = 0x2E80  # letters from here on are Chinese, as wide as high
SHARE, STRETCH = 0.8, 1.45  # of a size: that of the letters, that from line to line
PAPER, INK, FRAME = "0.992 0.988 0.969", "0.106 0.165 0.255", "0.165 0.435 0.592"
CHINESE = (
    "<</Type/Font/Subtype/Type0/BaseFont/STSong-Light-UniGB-UTF16-H"
    "/Encoding/UniGB-UTF16-H/DescendantFonts[<</Type/Font/Subtype/CIDFontType0"
    "/BaseFont/STSong-Light/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)"
    "/Supplement 4>>/DW 1000/FontDescriptor<</Type/FontDescriptor"
    "/FontName/STSong-Light/Flags 6/FontBBox[-25 -254 1000 880]/ItalicAngle 0"
    "/Ascent 880/Descent -120/CapHeight 880/StemV 93>>>>]>>"
)


def document(title: str, lines: Sequence[tuple[float, str]]) -> bytes:
    """Return a PDF.

    Args:
        title: for its properties.
        lines: (size, words) from top to bottom, each centered; words may be empty.
    """
    font = dejavu()
    drop = sum(STRETCH * SHARE * size for size, _ in lines)
    height = max(HEIGHT, round(drop) + 6 * MARGIN)
    latin = "".join(
        words for _, line in lines for words, wide in runs(line) if not wide
    )
    letters = dict(zip(font.glyphs(latin), latin, strict=True))
    embedded = font.subset(set(letters))
    info = f"<</Title {utf16(MARK + title)}>>"
    return assembled(
        [
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH} {height}]/Contents 4 0 R"
            "/Resources<</Font<</L 5 0 R/C 6 0 R>>>>>>",
            stream(page(font, lines, height).encode("ascii")),
            "<</Type/Font/Subtype/Type0/BaseFont/DejaVuSans/Encoding/Identity-H"
            f"/DescendantFonts[{descendant(font, letters)}]/ToUnicode 8 0 R>>",
            CHINESE,
            stream(embedded, f"/Length1 {len(embedded)}"),
            stream(to_unicode(letters).encode("ascii")),
            info,
        ]
    )


def page(font: Font, lines: Sequence[tuple[float, str]], height: int) -> str:
    inside = f"{WIDTH - 2 * MARGIN} {height - 2 * MARGIN}"
    commands = [
        f"{PAPER} rg 0 0 {WIDTH} {height} re f",
        f"{FRAME} RG 2 w {MARGIN} {MARGIN} {inside} re S",
        f"BT {INK} rg",
    ]
    y = height - 3.0 * MARGIN
    for size, line in lines:
        y -= STRETCH * SHARE * size
        commands += placed(font, line, SHARE * size, y)
    return "\n".join([*commands, "ET"])


def placed(font: Font, line: str, size: float, y: float) -> Iterator[str]:
    """Write a line in the middle, each run in its font."""
    rows = [
        (words, wide, length(font, words, wide) * size) for words, wide in runs(line)
    ]
    x = (WIDTH - sum(width for *_, width in rows)) / 2
    for words, wide, width in rows:
        code = utf16(words) if wide else numbers(font.glyphs(words))
        yield f"/{'C' if wide else 'L'} {size:.2f} Tf 1 0 0 1 {x:.2f} {y:.2f} Tm {code} Tj"
        x += width


def runs(line: str) -> list[tuple[str, bool]]:
    """Divide a line into (words, whether they are Chinese)."""
    parts = groupby(line, lambda letter: ord(letter) >= WIDE)
    return [("".join(letters), wide) for wide, letters in parts]


def length(font: Font, words: str, wide: bool) -> float:
    return len(words) if wide else font.width(words) / 1000


def descendant(font: Font, glyphs: dict[int, str]) -> str:
    widths = "".join(f"{glyph}[{font.widths[glyph]}]" for glyph in sorted(glyphs))
    return (
        "<</Type/Font/Subtype/CIDFontType2/BaseFont/DejaVuSans/CIDToGIDMap/Identity"
        "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
        f"/DW 600/W[{widths}]/FontDescriptor<</Type/FontDescriptor/FontName/DejaVuSans"
        "/Flags 32/FontBBox[-1021 -463 1793 1232]/ItalicAngle 0/Ascent 928"
        "/Descent -236/CapHeight 729/StemV 80/FontFile2 7 0 R>>>>"
    )


def to_unicode(glyphs: dict[int, str]) -> str:
    """Return the table with which a reader copies and finds text."""
    rows = [f"<{glyph:04x}> {utf16(glyphs[glyph])}" for glyph in sorted(glyphs)]
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    body = ([f"{len(b)} beginbfchar", *b, "endbfchar\n"] for b in blocks)
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def\n"
        "/CMapName /Letters def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{''.join(map(NEWLINE.join, body))}endcmap\n"
        "CMapName currentdict /CMap defineresource pop end end"
    )


def utf16(words: str) -> str:
    return f"<{words.encode('utf-16-be').hex()}>"


def numbers(glyphs: Sequence[int]) -> str:
    return f"<{''.join(f'{glyph:04x}' for glyph in glyphs)}>"


def stream(content: bytes, facts: str = "") -> bytes:
    head = f"<</Length {len(content)}{facts}>>\nstream\n".encode()
    return head + content + b"\nendstream"


def assembled(objects: Sequence[str | bytes]) -> bytes:
    """Number the objects and append the table of their places; the last is the info."""
    content, places = b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(content))
        body = item if isinstance(item, bytes) else item.encode("ascii")
        content += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start, size = len(content), len(objects) + 1
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    tail = f"trailer\n<</Size {size}/Root 1 0 R/Info {size - 1} 0 R>>"
    table = f"xref\n0 {size}\n0000000000 65535 f \n{rows}{tail}"
    return content + f"{table}\nstartxref\n{start}\n%%EOF\n".encode("ascii")
