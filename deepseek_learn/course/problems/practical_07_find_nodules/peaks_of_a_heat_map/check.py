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
        shape = tuple(int(n) for n in rng.integers(4, 9, 3))
        values = rng.permutation(np.prod(shape)).reshape(shape) / np.prod(shape)
        heat = values - (1.5, 0.5)[case % 2]  # all values are negative, or half of them
        least = 9.0 if case == 7 else float(np.quantile(heat, (0, 0.6, 0.9)[case % 3]))
        call = f"peaks(heat {list(shape)}, {least:.3f})"
        tensor = torch.from_numpy(heat).float()
        got = expect.call(answer, tensor, least)
        want = [i for i in np.ndindex(shape) if is_peak(heat, i, AROUND)]
        chosen = [i for i in want if tensor[i] >= least]
        compare(indices(got, len(chosen), call), tensor.numpy(), chosen, least, call)


def indices(got, count: int, call: str) -> list[tuple[int, ...]]:
    values = expect.numbers(got, call)
    if values.size == 0 and not count:
        return []
    if values.ndim != 2 or values.shape[1] != 3:
        raise Failed("expect.shape", what=call, got=list(values.shape), want=[count, 3])
    if not np.isfinite(values).all():
        raise Failed("outside", call=call, got=values.tolist()[0])
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
    for index in want:
        if index not in got:
            at_border = any(
                i in (0, n - 1) for i, n in zip(index, heat.shape, strict=True)
            )
            if at_border and not is_peak(heat, index, AROUND, around=True):
                raise Failed("around", call=call, got=list(index))
            key = "border" if at_border else "missing"
            raise Failed(key, call=call, want=list(index))
    if got != sorted(want, key=lambda index: -heat[index]):
        raise Failed("order", call=call)
