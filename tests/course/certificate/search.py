"""Search files for probes; runs in a room: `python search.py PROBES SKIPPED FOLDER...`.

PROBES is a JSON file, {task: [bytes in hexadecimal digits, ...]}. Files are searched as
they are and unpacked (gzip, zip, bz2, xz, also inside each other); a pickle, a marshal
file, a tar file and an `.npy` hold their bytes as they are. Files that begin with the
bytes SKIPPED, in hexadecimal digits, are not searched. It prints a line per find.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator

import numpy as np

WORD, BITS = 8, 20  # bytes of an anchor, of its hash
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
UNPACKERS = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\0": lzma.decompress,
}


def main() -> None:
    with open(sys.argv[1]) as file:
        tasks = json.load(file)
    probes = {bytes.fromhex(p): task for task, group in tasks.items() for p in group}
    anchors, skipped = Anchors(probes), bytes.fromhex(sys.argv[2])
    files = size = 0
    for folder in sys.argv[3:]:
        for path in walk(folder):
            try:
                with open(path, "rb") as content:
                    head = content.read(len(skipped))
                    if skipped and head == skipped:
                        continue
                    whole = head + content.read()
            except OSError:
                continue
            files, size = files + 1, size + len(whole)
            for inner in unpacked(whole):
                for probe in anchors.find(inner):
                    print("found", probes[probe], path)
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


class Anchors:
    """The words inside the probes, by which a probe is found at any offset.

    Wherever a probe stands, every eighth of its words is at a multiple of eight, so only
    these places are looked at. Of each such eighth, the most varied word is the anchor.
    """

    def __init__(self, probes: Iterable[bytes]):
        self.probes: dict[int, list[tuple[bytes, int]]] = {}
        for probe in probes:
            for first in range(WORD):
                offset = max(
                    range(first, len(probe) - WORD + 1, WORD),
                    key=lambda i: len(set(probe[i : i + WORD])),
                )
                word = int.from_bytes(probe[offset : offset + WORD], "little")
                self.probes.setdefault(word, []).append((probe, offset))
        self.words = np.array(sorted(self.probes), np.uint64)
        self.table = np.zeros(1 << BITS, bool)
        self.table[hashed(self.words)] = True

    def find(self, content: bytes) -> Iterator[bytes]:
        """Yield the probes that the content holds."""
        words = np.frombuffer(content, "<u8", len(content) // WORD)
        for block in range(0, len(words), 1 << 16):
            part = words[block : block + (1 << 16)]
            rows = np.flatnonzero(self.table[hashed(part)])
            near = np.searchsorted(self.words, part[rows])
            rows = rows[self.words[np.minimum(near, len(self.words) - 1)] == part[rows]]
            for row in rows:
                place = (block + int(row)) * WORD
                for probe, offset in self.probes[int(part[row])]:
                    if offset <= place and content.startswith(probe, place - offset):
                        yield probe


def hashed(words: np.ndarray) -> np.ndarray:
    return (words * ODD) >> np.uint64(64 - BITS)


if __name__ == "__main__":
    main()
