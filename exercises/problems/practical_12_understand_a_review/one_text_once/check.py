"""Texts without copies and contradictions."""

import unicodedata

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

PIECES = (
    "房间", "很", "干净", "服务", "差", "早餐", "不错", "Good", "ok", "5", "星", "屏幕",
    "亮", "书", "好看",
)  # fmt: skip
MARKS = ("，", "。", "!", " ", "……", "~", "\u3000")


def check(answer, rng) -> None:
    expect.function(answer, "distinct")
    fixed = ["很好！", "很好", "！！", "Ｖ５", "v5", "一般", "很差", "很差。", "很 差"]
    compare(answer, fixed, [1, 1, 0, 1, 1, 0, 0, 1, 0])
    compare(answer, ["不好", "还行", "不好。"], [0, 1, 1])
    compare(answer, ["…"], [1])
    compare(answer, ["5星", "4星", "５星", "a_b", "ab", "A b"], [1, 0, 1, 0, 0, 0])
    for _ in range(4):
        texts = [text(rng) for _ in range(25)]
        texts += [disguised(texts[i], rng) for i in rng.integers(25, size=15)]
        order = rng.permutation(len(texts))
        labels = rng.integers(0, 2, len(texts))
        labels[25:] = labels[25:] | (rng.random(15) < 0.5)
        compare(answer, [texts[i] for i in order], labels[order].tolist())


def text(rng) -> str:
    if rng.random() < 0.08:
        return "".join(rng.choice(MARKS, 2))
    words = rng.choice(PIECES, int(rng.integers(2, 5)))
    return "".join(word + str(rng.choice(MARKS)) for word in words)


def disguised(own: str, rng) -> str:
    """The same text with other punctuation, in capitals or full-width letters."""
    changed = own.replace("，", "").upper() if rng.random() < 0.5 else own + "！"
    if rng.random() < 0.5:
        wide = {
            code: code + 0xFEE0 for code in range(0x30, 0x7B) if chr(code).isalnum()
        }
        changed = changed.translate(wide)
    return changed


def key(own: str) -> str:
    normal = unicodedata.normalize("NFKC", own).lower()
    return "".join(character for character in normal if character.isalnum())


def compare(answer, texts: list[str], labels: list[int]) -> None:
    call = f"distinct({len(texts)} texts, labels)"
    got = expect.numbers(expect.call(answer, [*texts], [*labels]), call)
    for each in got.ravel():
        if each not in range(len(texts)):
            raise Failed("range", call=call, count=len(texts), got=str(each))
    places = [int(each) for each in got.ravel()]
    kinds: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for place, (own, label) in enumerate(zip(texts, labels, strict=True)):
        kinds.setdefault(key(own), set()).add(label)
        first.setdefault(key(own), place)
    for place, own in enumerate(texts):
        facts = {"call": call, "place": place, "text": own}
        if place in places:
            if not key(own):
                raise Failed("empty", **facts)
            if len(kinds[key(own)]) > 1:
                raise Failed("contradiction", **facts)
            if first[key(own)] != place:
                raise Failed("first", **facts)
        elif key(own) and len(kinds[key(own)]) == 1 and first[key(own)] == place:
            raise Failed("missing", **facts)
    if places != sorted(set(places)):
        raise Failed("order", call=call, got=str(places[:12]))
