"""Answers to `read_an_orientation`: the starter, right ones and wrong ones."""

# %% starter
def orientation(tiff):
    ...

# %% solution
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% right: with struct
import struct


def orientation(tiff):
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    mark = "<" if tiff[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(mark + "I", tiff, 4)
        (count,) = struct.unpack_from(mark + "H", tiff, start)
        for i in range(count):
            entry = struct.unpack_from(mark + "HHIHH", tiff, start + 2 + 12 * i)
            if entry[0] == 0x0112:
                return entry[3] if 0 < entry[3] < 9 else 1
    except struct.error:
        pass
    return 1

# %% right: with NumPy
import numpy as np


def orientation(tiff):
    marks = {b"II*\0": "<", b"MM\0*": ">"}
    if (mark := marks.get(bytes(tiff[:4]))) is None or len(tiff) < 8:
        return 1
    start = int(np.frombuffer(tiff, mark + "u4", 1, 4)[0])
    if start + 2 > len(tiff):
        return 1
    count = int(np.frombuffer(tiff, mark + "u2", 1, start)[0])
    count = min(count, (len(tiff) - start - 2) // 12)
    rows = np.frombuffer(tiff, mark + "u2", 6 * count, start + 2).reshape(-1, 6)
    values = rows[rows[:, 0] == 0x0112, 4]
    return int(values[0]) if len(values) and 1 <= values[0] <= 8 else 1

# %% wrong: reads four bytes
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            value = number(at + 8, 4)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: always little-endian
def orientation(tiff):
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], "little")

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: the directory always begins at 8
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    for i in range(number(8, 2)):
        at = 10 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: only the first entry
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    at = number(4, 4) + 2
    if at + 12 > len(tiff) or number(at, 2) != 0x0112:
        return 1
    value = number(at + 8, 2)
    return value if 1 <= value <= 8 else 1

# %% wrong: believes any value
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            return number(at + 8, 2)
    return 1

# %% wrong: believes a file that ends within the entry
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: looks for the tag anywhere
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    at = tiff.find((0x0112).to_bytes(2, order))
    if at < 0 or at + 12 > len(tiff):
        return 1
    value = int.from_bytes(tiff[at + 8 : at + 10], order)
    return value if 1 <= value <= 8 else 1

# %% wrong: anything that is not II is big-endian
def orientation(tiff):
    order = "little" if tiff[:2] == b"II" else "big"

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: the last entry with the tag
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start, answer = number(4, 4), 1
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            break
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            answer = value if 1 <= value <= 8 else 1
    return answer

# %% wrong: goes on behind the directory
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    at = int.from_bytes(tiff[4:8], order) + 2
    while at + 12 <= len(tiff):
        if int.from_bytes(tiff[at : at + 2], order) == 0x0112:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
        at += 12
    return 1

# %% wrong: skips an entry whose value is out of range
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for i in range(number(start, 2)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        if number(at, 2) == 0x0112 and 1 <= number(at + 8, 2) <= 8:
            return number(at + 8, 2)
    return 1

# %% wrong: wants the whole directory
def orientation(tiff):
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at, size):
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    count = number(start, 2)
    if start + 2 + 12 * count > len(tiff):
        return 1
    for i in range(count):
        at = start + 2 + 12 * i
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

# %% wrong: reads the place of the directory as a signed number
import struct


def orientation(tiff):
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    mark = "<" if tiff[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(mark + "i", tiff, 4)
        (count,) = struct.unpack_from(mark + "H", tiff, start)
        for i in range(count):
            entry = struct.unpack_from(mark + "HHIHH", tiff, start + 2 + 12 * i)
            if entry[0] == 0x0112:
                return entry[3] if 0 < entry[3] < 9 else 1
    except struct.error:
        pass
    return 1
