"""Chinese text in one form, however it was written.

The file `files/simplified.txt` contains pairs of a traditional and a simplified character:
those pairs of OpenCC's table of characters (Apache-2.0, from the package
`opencc-python-reimplemented` 0.1.7) whose second character is in GB 2312.
"""

import unicodedata
from functools import cache
from importlib.resources import files

PRIVATE = "#"  # what stands for an address or a long number in our data


def normalize(text: str) -> str:
    """Return a text in the form that the models read.

    Compatible characters are unified (NFKC), letters become lower case, traditional
    characters simplified ones, and white space single spaces. Characters without a width
    and control characters are dropped.
    """
    text = unicodedata.normalize("NFKC", text).lower().translate(_simplified())
    words = ("".join(filter(str.isprintable, word)) for word in text.split())
    return " ".join(filter(None, words))


@cache
def _simplified() -> dict[int, str]:
    path = files("deepseek_learn.data") / "files" / "simplified.txt"
    pairs = path.read_text(encoding="utf-8").split()
    return {ord(pair[0]): pair[1] for pair in pairs}
