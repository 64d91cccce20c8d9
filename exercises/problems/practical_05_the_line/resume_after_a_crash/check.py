"""Read a verdict file after a crash, and find the parts that still have to be judged."""

import hashlib
import json
from itertools import islice

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# a line feed, a quotation mark, and separators at which `str.splitlines` breaks a line
ODD = ("a\nb.png", 'a"b.png', "a\u2028b.png", "a\x85b.png", "零件.png", "🔩.png")

SPLIT = "零件.png"


def check(answer, rng) -> None:
    expect.function(answer, "remaining")
    for _ in range(4):
        parts, judged = draw(rng)
        whole = b"".join(map(line, judged))
        compare(answer, whole, parts, judged, "a complete file")
        compare(answer, b"", parts, [], "an empty file")
        *before, last = judged
        start = b"".join(map(line, before))
        compare(answer, start + line(last)[:-1], parts, before, "only \\n is missing")
        for _ in range(4):
            cut = int(rng.integers(1, len(line(last)) - 1))
            compare(answer, start + line(last)[:cut], parts, before, "half a line")
        # the program was stopped between two bytes of one character
        split = next(item for item in judged if item[0] == SPLIT)
        others = [item for item in judged if item is not split]
        start = b"".join(map(line, others))
        cut = line(split).index(SPLIT.encode()) + 1
        compare(answer, start + line(split)[:cut], parts, others, "half a character")


def draw(rng) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Draw the parts in random order, and the items that were judged before."""
    names = [f"{n:03d}.png" for n in rng.permutation(1000)[:14].tolist()]
    names += [ODD[i] for i in rng.permutation(len(ODD))]
    order = rng.permutation(len(names))
    parts = [(names[i], rng.bytes(20)) for i in order]
    plain = [i for i, (name, _) in enumerate(parts) if name not in ODD]
    again, reverted, copy, original, swapped, partner, todo, *rest = plain
    twin, other_twin, twice, *_ = rest
    parts[copy] = parts[copy][0], parts[original][1]
    parts[twin] = parts[twin][0], parts[other_twin][1]  # both are judged
    judged = [part for i, part in enumerate(parts) if i not in (copy, todo, again)]
    judged.remove(parts[swapped])
    judged.remove(parts[partner])
    # 1. taken again under the same name; 2. the same, but with the first content back
    judged.append((parts[again][0], rng.bytes(20)))
    judged.append((parts[reverted][0], rng.bytes(20)))
    judged.insert(0, (parts[twice][0], rng.bytes(20)))
    # 3. two parts whose contents were exchanged
    judged.append((parts[swapped][0], parts[partner][1]))
    judged.append((parts[partner][0], parts[swapped][1]))
    end = judged.index(parts[original])  # the last line is that of a plain part
    judged.append(judged.pop(end))
    return parts, judged


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def line(item: tuple[str, bytes]) -> bytes:
    """Return the line of a verdict, as the library writes it."""
    name, content = item
    verdict = {"name": name, "sha256": digest(content), "verdict": "good"}
    return json.dumps(verdict, ensure_ascii=False).encode() + b"\n"


def compare(answer, log: bytes, parts, judged, case: str) -> None:
    got = names_in(expect.call(answer, log, parts), case)
    known = set(judged)
    want = [name for name, content in parts if (name, content) not in known]
    for name in got:
        if name not in dict(parts):
            raise Failed("unknown", case=case, name=repr(name))
        if name not in want:
            raise Failed("twice", case=case, name=repr(name))
    for name in want:
        if name not in got:
            raise Failed("lost", case=case, name=repr(name))
    if got != want:
        raise Failed("order", case=case)


def names_in(got, case: str) -> list[str]:
    """Return the answer as a list; any iterable of strings is accepted."""
    if not isinstance(got, str | bytes) and hasattr(got, "__iter__"):
        names = expect.call(lambda: list(islice(got, expect.MOST_PARTS)))
        others = [type(name).__name__ for name in names if not isinstance(name, str)]
        if not others:
            return names
        raise Failed("element", case=case, got=others[0])
    raise Failed("names", case=case, got=type(got).__name__)
