"""Read the orientation of an image from its Exif data."""

from typing import Literal

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TAG = 0x0112
MARKS = {"little": b"II*\0", "big": b"MM\0*"}
Order = Literal["little", "big"]


def check(answer, rng) -> None:
    expect.function(answer, "orientation")
    orders: tuple[Order, ...] = ("little", "big", "little", "big")
    for order in orders:
        values = (rng.permutation(7) + 2).tolist()  # 2 to 8
        for case, tiff, want in cases(rng, order, values):
            name = f"{case}, {order}-endian"
            call = f"orientation(...): {name}"
            got = expect.integer(expect.call(answer, tiff), call)
            if got != want:
                raise Failed("value", case=name, got=got, want=want)


def cases(rng, order: Order, values: list[int]):
    """Yield descriptions, Exif data and orientations."""
    others = [int(tag) for tag in rng.permutation(0x0100)[:5] + 0x0200]
    a, b, c = others[:3]
    for value in values:
        tags = [a, b, TAG, c][int(rng.integers(0, 3)) :]
        yield "a valid file", exif(rng, order, tags, [value]), value
    value, other, *_ = values
    yield "an orientation of 1", exif(rng, order, [TAG, a], [1]), 1
    yield "no such entry", exif(rng, order, [a, b, c], []), 1
    yield "no entry at all", exif(rng, order, [], []), 1
    yield "two entries", exif(rng, order, [a, TAG, TAG], [value, other]), value
    yield "two entries, the first invalid", exif(rng, order, [TAG, TAG], [9, value]), 1
    for invalid in (0, 9, 0xFFFF):
        yield f"a value of {invalid}", exif(rng, order, [a, TAG], [invalid]), 1
    hidden = exif(rng, order, [a, b, c], []) + entry(rng, order, TAG, value)
    yield "the tag behind the directory", hidden, 1
    inside = exif(rng, order, [a, TAG, b], [value], before=code(order, TAG, 2) * 9)
    yield "the tag before the directory, too", inside, value
    yield "data before the directory", exif(rng, order, [TAG], [value], b"." * 7), value
    whole = exif(rng, order, [a, TAG], [value])
    yield "a file that ends within the entry", whole[:-1], 1
    yield "a file that ends after the value", whole[:-2], 1
    short = exif(rng, order, [a, TAG, b, c], [value])
    yield "a file that ends after the entry with the tag", short[:-24], value
    yield "a file that ends within a later entry", short[:-13], value
    # as a signed number, the place would be counted from the end
    beyond = exif(rng, order, [TAG], [value])
    beyond = beyond[:4] + code(order, 2**32 - (len(beyond) - 8), 4) + beyond[8:]
    yield "a directory beyond the end", beyond, 1
    for length in (0, 3, 4, 6, 8, 9, 12):
        yield f"a file of {length} bytes", whole[:length], 1
    for mark in (b"II\0*", b"MM*\0", b"\xff\xd8\xff\xe1"):
        yield "another mark", mark + whole[4:], 1


def code(order: Order, value: int, size: int) -> bytes:
    return value.to_bytes(size, order)


def entry(rng, order: Order, tag: int, value: int) -> bytes:
    """Return an entry, with anything but zeros behind the value."""
    rest = rng.integers(1, 255, 2).astype("uint8").tobytes()
    kind, count = code(order, 3, 2), code(order, 1, 4)
    return code(order, tag, 2) + kind + count + code(order, value, 2) + rest


def exif(rng, order: Order, tags: list[int], values: list[int], before=b"") -> bytes:
    """Return a TIFF file; `values` are the orientations of the entries with the tag.

    `before` stands between the header and the directory.
    """
    remaining = iter(values)
    entries = [
        entry(rng, order, t, next(remaining) if t == TAG else int(rng.integers(2, 9)))
        for t in tags
    ]
    header = MARKS[order] + code(order, 8 + len(before), 4)
    return header + before + code(order, len(tags), 2) + b"".join(entries)
