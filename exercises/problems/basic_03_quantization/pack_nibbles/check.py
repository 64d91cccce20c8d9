"""Pack two 4-bit codes into one byte."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "pack(codes)"


def check(answer, rng) -> None:
    expect.function(answer, "pack")
    sizes = [(int(n), int(m)) for n, m in rng.integers(3, 12, size=(6, 2))]
    sizes[1:3] = (16, 16), (1, 1)  # every pair of codes; a single byte
    for rows, pairs in sizes:
        codes = rng.integers(0, 16, size=(rows, 2 * pairs)).astype("uint8")
        if pairs == 16:
            codes = (
                np.moveaxis(np.indices((16, 16)), 0, 2).astype("uint8").reshape(16, 32)
            )
        got = expect.call(answer, torch.from_numpy(codes))
        compare(got, codes.astype(int))


def compare(got, codes: np.ndarray) -> None:
    low, high = codes[:, 0::2], codes[:, 1::2]
    want = low + 16 * high
    expect.tensor(got, CALL)
    values = expect.shape(got, want.shape, CALL)
    left, right = np.hsplit(codes, 2)
    if (values != want).any():  # a single byte cannot tell the mistakes apart
        if (values == 16 * low + high).all() and want.size > 1:
            raise Failed("high_first")
        if (values == left + 16 * right).all():
            raise Failed("halves")
    expect.close(values, want, CALL, 1e-9)
    if got.dtype != torch.uint8:
        size = got.element_size()
        raise Failed("dtype", got=str(got.dtype), size=size)
