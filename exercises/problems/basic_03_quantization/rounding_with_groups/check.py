"""Round a matrix to codes of b bits, with one scale per group of weights."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "quantize(weight, bits, group_size)"


def check(answer, rng) -> None:
    expect.function(answer, "quantize")
    for trial, bits in enumerate(rng.permutation((1, 2, 3, 4, 5, 8)).tolist()):
        rows, groups = (int(n) for n in rng.integers(3, 8, size=2))
        size = int(rng.choice([5, 8, 16, 32]))
        if trial == 1:  # the smallest case: one row of one group
            rows, groups = 1, 1
        if trial == 2:  # every weight is the largest of its group
            size = 1
        spread = rng.uniform(0.2, 4.0, size=(rows, groups, 1))  # no two groups alike
        weight = torch.from_numpy(rng.normal(size=(rows, groups, size)) * spread)
        weight = weight.reshape(rows, -1).float()
        got = expect.call(answer, weight, bits, size)
        codes, scales = expect.parts(got, 2, CALL)
        compare(codes, scales, weight.double().numpy(), bits, size)


def compare(codes, scales, weight: np.ndarray, bits: int, size: int) -> None:
    expect.tensor(codes, f"{CALL}[0]")
    expect.tensor(scales, f"{CALL}[1]")
    largest = np.abs(weight).reshape(len(weight), -1, size).max(2)  # [N, K / G]
    half = 2 ** (bits - 1)
    q = expect.shape(codes, weight.shape, f"{CALL}[0]")
    s = expect.shape(scales, largest.shape, f"{CALL}[1]")
    want = largest / (half - 0.5)
    if s.shape[1] > 1 and (s == s[:, :1]).all():
        raise Failed("shared")
    if (mismatch := ~(np.abs(s - want) <= 1e-5 * want)).any():
        place = tuple(np.argwhere(mismatch)[0])
        facts = {"got": float(s[place]), "want": float(want[place])}
        where = [int(i) for i in place]
        raise Failed("expect.element", what=f"{CALL}[1]", where=where, **facts)
    invalid = ~((q == np.floor(q)) & (q >= 0) & (q < 2 * half))
    if invalid.any():
        facts = {"got": float(q[invalid][0]), "bits": bits, "top": 2 * half - 1}
        raise Failed("range", **facts)
    # an exact tie may go either way, and float32 may see one where float64 does not
    distance = np.abs(q - half - weight / np.repeat(s, size, axis=1))
    if distance.max() > 0.5 + 1e-4:
        row, column = (
            int(i) for i in np.unravel_index(distance.argmax(), distance.shape)
        )
        moved = float(distance.max())
        raise Failed("bound", where=[row, column], moved=moved, bits=bits)
    expect.tensor(codes, f"{CALL}[0]", torch.uint8)
    expect.tensor(scales, f"{CALL}[1]", torch.float32)
