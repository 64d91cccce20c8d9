"""Search files for probes; runs inside a room: `python search.py PROBES FOLDER...`.

PROBES is a JSON file, {task: [bytes in hexadecimal digits, ...]}. Files are searched as
they are and unpacked (gzip, zip, bz2, xz, also inside each other); a pickle, a marshal
file, a tar file and an `.npy` hold their bytes as they are. It prints a line per find.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Iterator

import numpy as np

WORD, BITS = 8, 22  # bytes of an anchor, of its hash
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
UNPACKERS = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\0": lzma.decompress,
}


def main() -> None:
    with open(sys.argv[1]) as file:
        probes = Probes(json.load(file))
    files = size = 0
    for folder in sys.argv[2:]:
        for path in walk(folder):
            try:
                with open(path, "rb") as content:
                    whole = content.read()
            except OSError:
                continue
            files, size = files + 1, size + len(whole)
            for inner in unpacked(whole):
                for probe in probes.find(inner):
                    print("found", probes.tasks[probe], path)
    print("searched", files, size)


def walk(folder: str) -> Iterator[str]:
    """Yield the regular files below a folder; each once, whatever links to it."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def unpacked(content: bytes, depth: int = 3) -> Iterator[bytes]:
    """Yield a file's bytes and, if it is packed, those that it unpacks to."""
    yield content
    if not depth:
        return
    try:
        for magic, unpack in UNPACKERS.items():
            if content.startswith(magic):
                yield from unpacked(unpack(content), depth - 1)
        if content.startswith(b"PK\3\4"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    yield from unpacked(archive.read(name), depth - 1)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile):
        pass  # it only begins as such a file


class Probes:
    """All probes, and their anchors: words to look for only at multiples of WORD."""

    def __init__(self, tasks: dict[str, list[str]]) -> None:
        self.tasks = {
            bytes.fromhex(p): task for task, group in tasks.items() for p in group
        }
        self.anchors: dict[int, list[tuple[bytes, int]]] = {}
        for probe in self.tasks:
            for start, word in anchors(probe):
                number = int.from_bytes(word, "little")
                self.anchors.setdefault(number, []).append((probe, start))
        self.table = np.zeros(1 << BITS, bool)
        self.table[hashed(np.array(list(self.anchors), np.uint64))] = True

    def find(self, content: bytes) -> Iterator[bytes]:
        """Yield the probes that the content holds at any offset."""
        words = np.frombuffer(content, "<u8", len(content) // WORD)
        for block in range(0, len(words), 1 << 16):
            part = words[block : block + (1 << 16)]
            rows = np.flatnonzero(self.table[hashed(part)])
            for row, word in zip(rows.tolist(), part[rows].tolist(), strict=True):
                for probe, start in self.anchors.get(word, ()):
                    place = (block + row) * WORD - start
                    if place >= 0 and content.startswith(probe, place):
                        yield probe


def anchors(probe: bytes) -> list[tuple[int, bytes]]:
    """Return WORD words in a row: wherever a probe lies, one is at a multiple of WORD.

    They are those whose least varied has most different bytes: zeros are everywhere.
    """
    words = [probe[i : i + WORD] for i in range(len(probe) - WORD + 1)]
    if len(words) < WORD:
        raise ValueError(f"a probe of {len(probe)} bytes is too short")
    varied = [len(set(word)) for word in words]
    best = max(range(len(words) - WORD + 1), key=lambda i: min(varied[i : i + WORD]))
    return list(enumerate(words))[best : best + WORD]


def hashed(words: np.ndarray) -> np.ndarray:
    return (words * ODD) >> np.uint64(64 - BITS)


if __name__ == "__main__":
    main()
