"""Local maxima of a volume, found without max_pool3d."""

from itertools import product

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

AROUND = [step for step in product((-1, 0, 1), repeat=3) if any(step)]
FACES = [step for step in AROUND if sum(map(abs, step)) == 1]


def check(answer, rng) -> None:
    expect.function(answer, "peaks")
    for case in range(8):
        shape = (12, 11, 10) if case == 0 else tuple(map(int, rng.integers(4, 9, 3)))
        size = int(np.prod(shape))
        values = rng.permutation(size).reshape(shape)
        heat = (values - (1_000_000, size / 2)[case % 2]).astype(np.float32)
        want = [i for i in np.ndindex(shape) if is_peak(heat, i, AROUND)]
        heights = sorted(float(heat[index]) for index in want)
        least = (heights[0], heights[len(heights) // 2], float(heat.min()))[case % 3]
        if case == 7:
            least = float(heat.max()) + 1
        call = f"peaks(heat {list(shape)}, {least:.3f})"
        got = expect.call(answer, torch.from_numpy(heat), least)
        chosen = [index for index in want if heat[index] >= least]
        compare(indices(got, len(chosen), call), heat, chosen, least, call)


def indices(got, count: int, call: str) -> list[tuple[int, ...]]:
    values = expect.numbers(got, call)
    if values.size == 0 and not count:
        return []
    if values.ndim != 2 or values.shape[1] != 3:
        raise Failed("expect.shape", what=call, got=list(values.shape), want=[count, 3])
    for row in values:
        if not np.isfinite(row).all() or (row != np.round(row)).any():
            raise Failed("outside", call=call, got=row.tolist())
    return [tuple(int(n) for n in row) for row in values]


def is_peak(heat: np.ndarray, index, steps, around: bool = False) -> bool:
    """Whether a voxel is higher than its neighbors; `around`: also at the other side."""
    for step in steps:
        other = np.add(index, step)
        if around:
            other %= heat.shape
        elif (other < 0).any() or (other >= heat.shape).any():
            continue
        if heat[tuple(other)] > heat[tuple(index)]:
            return False
    return True


def compare(got, heat: np.ndarray, want: list, least: float, call: str) -> None:
    for index in got:
        inside = all(0 <= i < n for i, n in zip(index, heat.shape, strict=True))
        if not inside:
            raise Failed("outside", call=call, got=list(index))
        if heat[index] < least:
            raise Failed(
                "low", call=call, got=list(index), value=heat[index], least=least
            )
        if index not in want:
            key = "faces" if is_peak(heat, index, FACES) else "wrong"
            raise Failed(key, call=call, got=list(index))
    missing = [index for index in want if index not in got]
    turned = [i for i in want if not is_peak(heat, i, AROUND, around=True)]
    if missing and missing == turned:
        raise Failed("around", call=call, got=list(missing[0]))
    for index in missing:
        border = any(i in (0, n - 1) for i, n in zip(index, heat.shape, strict=True))
        key = "border" if border else "missing"
        raise Failed(key, call=call, want=list(index))
    if len(got) > len(want):
        raise Failed("twice", call=call, got=len(got), want=len(want))
    if got != sorted(want, key=lambda index: -heat[index]):
        raise Failed("order", call=call)
