"""Read only the high four bits of an 8-bit code."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "read_high(codes, scale)"


def check(answer, rng) -> None:
    expect.function(answer, "read_high")
    for trial in range(6):
        rows, columns = int(rng.integers(2, 8)), int(rng.integers(16, 40))
        codes = rng.integers(0, 256, size=(rows, columns)).astype("uint8")
        if trial == 0:  # each code once
            codes = rng.permutation(256).astype("uint8").reshape(8, 32)
        if trial == 1:  # one column with the two extreme codes
            codes = np.array([[0], [255]], dtype="uint8")
        scale = rng.uniform(0.01, 1.0, size=(len(codes), 1)).astype("float32")
        got = expect.call(answer, torch.from_numpy(codes), torch.from_numpy(scale))
        compare(got, codes.astype(float), scale.astype(float))


def compare(got, codes: np.ndarray, scale: np.ndarray) -> None:
    expect.tensor(got, CALL)
    values = expect.shape(got, codes.shape, CALL)
    steps = values / scale  # in steps of the 8-bit code
    high = 16 * np.floor(codes / 16)
    if np.allclose(steps, high - 128, atol=1e-3):
        raise Failed("shifted", mean=float((codes - high).mean()))
    if np.allclose(steps, high + 8 - 128, atol=1e-3):
        raise Failed("middle")
    if np.allclose(16 * steps, high + 7.5 - 128, atol=1e-2):
        raise Failed("step")
    if np.allclose(steps, codes - 128, atol=1e-3):
        raise Failed("whole")
    expect.close(values, scale * (high + 7.5 - 128), CALL, 1e-5)
    expect.tensor(got, CALL, torch.float32)
