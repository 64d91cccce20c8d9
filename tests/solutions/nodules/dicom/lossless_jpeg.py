"""A small encoder of lossless JPEG (ITU-T T.81, annex H), to make damaged images."""

import struct

import numpy as np


def encode(values: np.ndarray, precision: int) -> bytes:
    """The code stream of unsigned values, each predicted by its left neighbor."""
    head = b"\xff\xd8"
    lengths = bytes([0, 0, 0, 0, 17] + [0] * 11)  # 17 categories, 5 bits each
    head += b"\xff\xc4" + struct.pack(">HB", 36, 0) + lengths + bytes(range(17))
    frame = (11, precision, *values.shape, 1)
    head += b"\xff\xc3" + struct.pack(">HBHHB", *frame) + b"\x01\x11\x00"
    head += b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x01\x00\x00"
    digits = "".join(symbol(d) for d in differences(values.astype(int), precision))
    digits += "1" * (-len(digits) % 8)
    code = int(digits, 2).to_bytes(len(digits) // 8, "big")
    return head + code.replace(b"\xff", b"\xff\x00") + b"\xff\xd9"


def differences(values: np.ndarray, precision: int):
    left = np.empty_like(values)
    left[:, 1:] = values[:, :-1]
    left[1:, 0] = values[:-1, 0]
    left[0, 0] = 1 << (precision - 1)
    return (values - left).ravel().tolist()


def symbol(difference: int) -> str:
    size = abs(difference).bit_length()
    if not size:
        return "00000"
    bits = difference if difference > 0 else difference + (1 << size) - 1
    return f"{size:05b}{bits:0{size}b}"
