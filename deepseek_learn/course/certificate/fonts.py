"""The letters of the PDF: DejaVu Sans, of which a document carries what it uses.

matplotlib brings the font along; only its file is used, nothing that a `matplotlibrc`
could change. Chinese is set in a font that PDF readers have or replace, since no package
here has one: the document names it, and its bytes depend on no computer's fonts.
"""

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import require
from .refusal import Refused

FILE = Path("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
# of DejaVu Sans 2.37, with which the same certificate gives the same bytes
SHA256 = "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22"
TABLES = ("cvt ", "fpgm", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "prep")


@dataclass(frozen=True, eq=False)
class Font:
    """A TrueType font.

    Attributes:
        reader: its tables, by fontTools.
        numbers: the number of the glyph of each letter.
        widths: of each glyph, in thousandths of the size.
    """

    reader: Any
    numbers: dict[int, int]
    widths: list[int]

    def glyphs(self, words: str) -> list[int]:
        """Return the number of each letter's glyph, 0 for a letter that is missing."""
        return [self.numbers.get(ord(letter), 0) for letter in words]

    def width(self, words: str) -> int:
        return sum(self.widths[glyph] for glyph in self.glyphs(words))

    def subset(self, glyphs: set[int]) -> bytes:
        """Return a font file with the outlines of some glyphs only, same numbers."""
        data, places = self.reader.reader["glyf"], self.reader["loca"].locations
        outlines = self._with_parts(glyphs | {0})
        glyf, loca = b"", [0]
        for glyph in range(len(places) - 1):
            if glyph in outlines:
                glyf += data[places[glyph] : places[glyph + 1]]
            loca.append(len(glyf))
        tables = {tag: self.reader.reader[tag] for tag in TABLES}
        tables |= {"glyf": glyf, "loca": struct.pack(f">{len(loca)}I", *loca)}
        return assembled(tables)

    def _with_parts(self, glyphs: set[int]) -> set[int]:
        """Add the glyphs that others, such as accented letters, are composed of."""
        table, result, todo = self.reader["glyf"], set(glyphs), list(glyphs)
        while todo:
            glyph = table[self.reader.getGlyphName(todo.pop())]
            names = glyph.getComponentNames(table) if glyph.isComposite() else []
            parts = {self.reader.getGlyphID(name) for name in names} - result
            result |= parts
            todo += parts
        return result


@cache
def dejavu() -> Font:
    """Return the font.

    Raises:
        Refused: if the installed matplotlib brings another one along.
    """
    package = importlib.util.find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise Refused("font", file=path)
    library = require("fontTools.ttLib", extra="certificate", purpose="a certificate")
    reader = library.TTFont(path)
    scale = 1000 / reader["head"].unitsPerEm
    metrics = reader["hmtx"].metrics
    widths = [round(scale * metrics[name][0]) for name in reader.getGlyphOrder()]
    letters = reader.getBestCmap().items()
    numbers = {letter: reader.getGlyphID(name) for letter, name in letters}
    return Font(reader, numbers, widths)


def assembled(tables: dict[str, bytes]) -> bytes:
    """Return a TrueType file of some tables; readers of PDF ignore the checksums."""
    count = len(tables)
    power = count.bit_length() - 1
    head = struct.pack(
        ">IHHHH", 0x00010000, count, 16 << power, power, 16 * (count - (1 << power))
    )
    place, body = len(head) + 16 * count, b""
    for tag, content in sorted(tables.items()):
        head += struct.pack(">4sIII", tag.encode(), 0, place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    return head + body
