"""Invisible characters and look-alikes, undone word by word."""

import unicodedata

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

LOOKS = dict(zip("асеіорѕхуАВЕНКМОРТХ", "aceiopsxyABEHKMOPTX", strict=True))
BACK = {latin: other for other, latin in LOOKS.items()}
INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\ufeff\u202e"
ENGLISH = (
    "price",
    "Pay",
    "cheap",
    "TOP",
    "copy",
    "watches",
    "EXTRA",
    "here",
    "2002",
    "a",
)
RUSSIAN = ("рост", "Москва", "сосна", "вера", "ТОРТ", "хор")
FRENCH = ("café", "déjà", "Ça")


def check(answer, rng) -> None:
    expect.function(answer, "undo")
    compare(answer, "сhеар  рrісе for Москва, café", LOOKS)
    compare(
        answer, "TO\u200bР and А\u200dB", LOOKS
    )  # a capital is the only Latin letter
    compare(answer, "аa оz Аa ОZ", LOOKS)  # the first and the last letter
    compare(answer, "", LOOKS)
    compare(answer, " хор \u200b ", LOOKS)
    compare(answer, "qβ β q1", {"β": "b"})
    compare(answer, "éре Ça хор", LOOKS)  # "é" is no letter from a to z
    compare(answer, "хор-mp3 хор_ éре\tхор\u00a0ok\nрост\u2066", LOOKS)
    for _ in range(5):
        words = [word(rng) for _ in range(12)]
        gaps = [" " * int(rng.integers(1, 3)) for _ in words]
        text = "".join(each + gap for each, gap in zip(words, gaps, strict=True))
        compare(answer, text + disguised("price", rng) + " хор", LOOKS)


def word(rng) -> str:
    kind = rng.random()
    if kind < 0.25:
        own = str(rng.choice(RUSSIAN))
    elif kind < 0.4:
        own = str(rng.choice(FRENCH))
    else:
        own = disguised(str(rng.choice(ENGLISH)), rng)
    if rng.random() < 0.4:
        place = int(rng.integers(1, len(own) + 1))
        own = own[:place] + str(rng.choice([*INVISIBLE])) + own[place:]
    return own


def disguised(own: str, rng) -> str:
    return "".join(BACK.get(c, c) if rng.random() < 0.4 else c for c in own)


def latin(own: str) -> bool:
    return any(c.isascii() and c.isalpha() for c in own)


def undo(text: str, looks: dict[str, str]) -> str:
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return " ".join(
        "".join(looks.get(c, c) for c in own) if latin(own) else own
        for own in visible.split(" ")
    )


def compare(answer, text: str, looks: dict[str, str]) -> None:
    call = f"undo({text!r}, looks)"
    got = expect.call(answer, text, {**looks})
    if not isinstance(got, str):
        raise Failed("text", call=call, got=type(got).__name__)
    want = undo(text, looks)
    if got == want:
        return
    facts = {"call": call, "want": ascii(want), "got": ascii(got)}
    if any(unicodedata.category(c) == "Cf" for c in got):
        raise Failed("invisible", **facts)
    for own in want.split(" "):
        if own and not latin(own) and not own.isascii() and own not in got:
            raise Failed("foreign", word=own, **facts)
    raise Failed("different", **facts)
