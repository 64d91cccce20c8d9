"""What our models read of an email: marks of its form, the subject and the text.

`plain_text` leaves out everything that tells who wrote to whom: headers, addresses, web
addresses, long numbers, signatures and the lines that mailing lists add. It also undoes
what senders of unwanted mail do to hide words.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from .mime import Mail

BEGINNING, END = 1800, 600  # characters that the models read of a long mail
SIGNATURE, LIST_LINE = 12, 120  # lines of a signature; characters of a line
MAIL, LINK, NUMBER = "[mail]", "[link]", "[number]"
ADDRESS = re.compile(r"[\w.+=-]+@(?:[\w-]+(?:\.[\w-]+)+|localhost)")
WEB = re.compile(r"(?:https?://|ftp://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
DIGITS = re.compile(r"\(?\d(?:[-. ()]{0,2}\d){5,}")
TAG = re.compile(r"\[[^\]]{2,30}\]")  # "[ILUG]" in a subject
RULE = re.compile(r"^[\W_]{5,}$")
LIST_LINES = re.compile(
    r"mailing list|listinfo|unsubscribe from this group|yahoo! groups|sponsored by"
    r"|list admin|to subscribe or unsubscribe|maintainer",
    re.IGNORECASE,
)
QUOTED = re.compile(r"^([>\s|]*).*\b(?:wrote|writes|said):\s*$")  # who is quoted
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝкмтвнзαοερκντυιχγωΑΒΕΖΗΙΚΜΝΟΡΤΥΧАВЕКМНОРСТХ",
    "aeopcyxijsdhlqwkmtbh3aoepkvtuixywABEZHIKMNOPTYXABEKMHOPCTX",
)
FOREIGN = 0.3  # part of the letters
WORD = re.compile(r"[^\W\d_]+")
COMMON_WORDS = """
a about all an and any are as at be been but by can do for from get had has have he
her here his how i if in into is it its just like me more my no not now of on one
only or our out please she so than that the their them there they this time to up us
use was we were what when which who will with would you your
"""
COMMON = frozenset(COMMON_WORDS.split())
LATIN = re.compile(r"[A-Za-z]")
SEPARATED = re.compile(
    r"(?<![A-Za-z.])[A-Za-z]([-._*])(?:[A-Za-z]\1){2,}[A-Za-z](?!\w)"
)
MIXED = re.compile(r"[A-Za-z0134579@$]{4,}")
INSIDE = re.compile(r"(?<=[A-Za-z])[0134579@$]{1,2}(?=[A-Za-z])")
SIGNS = str.maketrans("0134579@$", "oieastgas")


def plain_text(mail: Mail) -> str:
    """Return what the models read: marks of its form, the subject and the text.

    Of a long email, they read the beginning and the end.
    """
    return within(whole_text(mail))


def within(text: str) -> str:
    """Return the beginning and the end of a long text."""
    if len(text) <= BEGINNING + END:
        return text
    return f"{text[:BEGINNING]} {text[-END:]}"


def whole_text(mail: Mail) -> str:
    """Return what the models would read if no mail were too long."""
    lines = []
    for line in _without_signatures(mail.text.split("\n")):
        stripped = line.strip()
        if len(stripped) <= LIST_LINE and LIST_LINES.search(line):
            continue
        if not RULE.match(stripped):
            lines.append(QUOTED.sub(r"\1someone wrote:", stripped))
    text = masked("\n".join([TAG.sub(" ", mail.subject), *lines]))
    return " ".join([*marks(mail), *undisguised(text).split()])


def marks(mail: Mail) -> list[str]:
    """Return words that describe the form of an email, as in `links:many`."""
    found = ["html"] if mail.html else []
    for name in ("links", "images"):
        count = getattr(mail, name)
        if count:
            found.append(f"{name}:{'many' if count > 5 else 'few'}")
    found += [f"attached:{ending}" for ending in dict.fromkeys(mail.attachments)]
    if mail.hidden > 40:
        found.append("hidden")
    letters = [c for c in f"{mail.subject} {mail.text}"[:3000] if c.isalpha()]
    if len(letters) > 20 and sum(c.isupper() for c in letters) > 0.3 * len(letters):
        found.append("capitals")
    if letters and sum(not c.isascii() for c in letters) > FOREIGN * len(letters):
        found.append("foreign")
    return found


def looks_english(text: str) -> bool:
    """Whether it is in Latin letters, and one word in ten is a common one of English.

    The words of a text with fewer than ten are not looked at.
    """
    letters = [c for c in text if c.isalpha()]
    if sum(not c.isascii() for c in letters) > FOREIGN * len(letters):
        return False
    words = [word.lower() for word in WORD.findall(text)]
    return len(words) < 10 or 10 * sum(word in COMMON for word in words) >= len(words)


def _without_signatures(lines: Sequence[str]) -> Iterator[str]:
    """Yield lines without signatures, short ones that end the text or a quotation."""
    place = 0
    while place < len(lines):
        if lines[place].rstrip("\r") in ("-- ", "--"):
            end = place + 1
            while end < len(lines) and not lines[end].startswith((">", "On ")):
                end += 1
            if sum(bool(line.strip()) for line in lines[place + 1 : end]) <= SIGNATURE:
                place = end
                continue
        yield lines[place]
        place += 1


def masked(text: str) -> str:
    """Replace addresses, web addresses and numbers of six digits or more.

    Before that, compatible characters are unified (NFKC) and invisible ones dropped.
    """
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if c.isspace() or c.isprintable())
    text = ADDRESS.sub(MAIL, WEB.sub(LINK, text))
    return DIGITS.sub(NUMBER, text)


def plain(text: str) -> str:
    """Mask a text and undo disguises of words.

    Invisible characters are dropped. In a text whose letters are mostly Latin, Cyrillic
    and Greek letters are replaced in words in which all of them look like Latin ones. A
    sign between all letters is dropped ("f.r.e.e"), and a digit or a sign inside a word
    becomes the letter that it resembles ("v1agra"), if the word has at least four letters.
    """
    return undisguised(masked(text))


def undisguised(text: str) -> str:
    """Undo disguises of words in a masked text; see `plain`."""
    if not text.isascii():
        letters = sum(c.isalpha() for c in text)
        if 2 * len(LATIN.findall(text)) > letters:
            text = re.sub(r"[^\W\d_]+", _latin, text)
    text = SEPARATED.sub(lambda match: match[0].replace(match[1], ""), text)
    return MIXED.sub(_letters, text)


def _latin(match: re.Match) -> str:
    word = match[0].translate(LOOK_ALIKES)
    other = [c for c in word if not c.isascii()]
    return match[0] if any("\u0370" <= c <= "\u052f" for c in other) else word


def _letters(match: re.Match) -> str:
    if sum(c.isalpha() for c in match[0]) < 4:
        return match[0]
    return INSIDE.sub(lambda inside: inside[0].translate(SIGNS), match[0])
