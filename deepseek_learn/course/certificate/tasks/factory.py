"""Defect detection in solar cells, on modules that are not in the training set."""

from functools import cache

import numpy as np

from .task import Draw, hold_out, tasks

LEARN, TEST, SIZE = 1600, 700, 64


@tasks.register("factory", title={"en": "Find defects", "zh": "检测缺陷"})
def factory(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Electroluminescence images, `[N, 1, 64, 64]`; class 1 is a defective cell.

    The nearest-mean classifier is hard to beat here: a small network trained for a few
    epochs is often below it on one of five draws, and its project is then refused.
    """
    x, y, modules = cells()
    learn, test = hold_out(modules, 0.3, rng)
    learn, test = learn[:LEARN], test[:TEST]
    return Draw(x[learn], y[learn], x[test], y[test])


@cache
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from ....data.elpv import elpv

    splits = elpv("source", size=SIZE)
    parts = [splits.train, splits.validation, splits.test]
    batches = [part.batch() for part in parts]
    x = np.concatenate([batch[0].numpy() for batch in batches]).astype(np.float32)
    y = np.concatenate([batch[1].numpy() for batch in batches]).astype(np.int64)
    return x, y, np.concatenate([np.asarray(part.groups) for part in parts])
