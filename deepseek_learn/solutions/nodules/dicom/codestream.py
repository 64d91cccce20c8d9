"""What a compressed image says of itself, in any of the JPEG formats.

Decoders trust the DICOM header about the size and fill an image that breaks off, so both
are compared with the code stream.
Sources: ITU-T T.81, T.87 and T.800.
"""

from dataclasses import dataclass

START, END = b"\xff\xd8", b"\xff\xd9"
START_2000 = b"\xff\x4f"
# start of frame: all but the tables that share the range (DHT, JPG, DAC)
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
LOSSLESS_FRAMES = (0xC3, 0xC7, 0xCB, 0xCF)
JPEG_LS, SCAN = 0xF7, 0xDA
SIZE_2000, CODING_2000 = 0x51, 0x52
BOXES = b"jP  "
TRAILER = 16  # bytes after the end marker that are taken for padding


@dataclass(frozen=True)
class CodeStream:
    """What the markers of a compressed image say.

    Attributes:
        precision: the number of bits per value.
        lossy: whether decoding does not give the original values.
        complete: whether the image ends with its end marker.
        images: the number of images that follow each other.
        jpeg_2000: whether it is of the wavelet kind (T.800).
    """

    rows: int
    columns: int
    precision: int
    lossy: bool
    complete: bool
    images: int
    jpeg_2000: bool


def inspect(code: bytes) -> CodeStream | None:
    """Return what a code stream says of itself; None if it is of another kind (RLE).

    Raises:
        ValueError: if its markers are damaged.
    """
    if code[4:8] == BOXES:  # a JP2 file around the code stream
        code = code[max(0, code.find(START_2000 + bytes([0xFF, SIZE_2000]))) :]
    jpeg_2000 = code[:2] == START_2000
    if not jpeg_2000 and code[:2] != START:
        return None
    at_end = code.rfind(END)
    complete = at_end >= 0 and len(code) - at_end - 2 <= TRAILER
    images = 1 + code.count(END + code[:2]) + code.count(END + b"\0" + code[:2])
    try:
        facts = _jpeg_2000(code) if jpeg_2000 else _jpeg(code)
    except (IndexError, KeyError):
        raise ValueError("the markers of the compressed image are damaged") from None
    return CodeStream(*facts, complete, images, jpeg_2000)


def _word(code: bytes, at: int, size: int = 2) -> int:
    part = code[at : at + size]
    if len(part) < size:
        raise IndexError
    return int.from_bytes(part, "big")


def _jpeg(code: bytes) -> tuple[int, int, int, bool]:
    at, frame = 2, {}
    while True:
        while code[at + 1] == 0xFF:  # fill bytes
            at += 1
        if code[at] != 0xFF:
            raise IndexError
        marker, length = code[at + 1], _word(code, at + 2)
        if marker in FRAMES:
            lossless = marker in LOSSLESS_FRAMES or marker == JPEG_LS
            frame = {"kind": marker, "lossy": not lossless, "precision": code[at + 4]}
            frame |= {"rows": _word(code, at + 5), "columns": _word(code, at + 7)}
        if marker == SCAN:
            components = code[at + 4]
            if frame["kind"] == JPEG_LS:
                frame["lossy"] = code[at + 5 + 2 * components] > 0  # NEAR
            names = ("rows", "columns", "precision", "lossy")
            rows, columns, precision, lossy = (frame[name] for name in names)
            return rows, columns, precision, bool(lossy)
        at += 2 + length


def _jpeg_2000(code: bytes) -> tuple[int, int, int, bool]:
    at, size = 2, None
    while True:
        marker, length = code[at + 1], _word(code, at + 2)
        if marker == SIZE_2000:
            right, bottom, left, top = (
                _word(code, at + 6 + 4 * i, 4) for i in range(4)
            )
            size = bottom - top, right - left, (code[at + 40] & 0x7F) + 1
        if marker == CODING_2000 and size is not None:
            return *size, code[at + 13] == 0  # 0: the irreversible 9-7 wavelet
        at += 2 + length
