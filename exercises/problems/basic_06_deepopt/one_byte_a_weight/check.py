"""Store the momentum in one byte per weight: int8 codes, with one scale per row."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "OneByte")
    for trial in range(6):
        rows, columns = int(rng.integers(2, 10)), int(rng.integers(3, 40))
        kept = expect.call(answer)
        for m in (draw(rng, rows, columns, trial), draw(rng, rows, columns, 1)):
            store(kept, m)
            compare(kept, m.astype(float))
            check_state(answer, kept, m)


def store(kept, m: np.ndarray) -> None:
    expect.call(lambda m: kept.store(m), torch.from_numpy(m))


def load(kept) -> np.ndarray:
    return expect.numbers(expect.call(lambda: kept.load()), "kept.load()")


def check_state(answer, kept, m) -> None:
    """Require that nothing but storing changes the state.

    Loading must not change it, nor may storing in another instance; extra state fails.
    """
    before = load(kept)
    if not np.array_equal(load(kept), before):
        raise Failed("again")
    store(expect.call(answer), np.ones_like(m) - m)
    if not np.array_equal(load(kept), before):
        raise Failed("shared")
    for name, value in vars(kept).items():
        size = getattr(value, "nbytes", 0)
        if name not in ("codes", "scale") and size >= m.size:
            raise Failed("more", name=name, size=size)


def draw(rng, rows: int, columns: int, trial: int) -> np.ndarray:
    """Draw rows of very different magnitude, with a zero row in every other trial."""
    if trial == 0:
        return np.zeros((rows, columns), "float32")  # the initial momentum
    sizes = 10 ** rng.uniform(-8, 3, (rows, 1))
    sizes[rng.permutation(rows)[:2]] = [[1e-20], [1e3]]
    m = sizes * rng.normal(size=(rows, columns))
    m[:, 0] = -2 * np.abs(m).max(1) * np.sign(rng.normal(size=rows))
    if trial % 2 and rows > 2:
        m[rng.integers(rows)] = 0
    return m.astype("float32")


def compare(kept, m) -> None:
    codes, scale = expect.call(lambda: (kept.codes, kept.scale))
    expect.tensor(codes, "kept.codes")
    values = expect.shape(codes, m.shape, "kept.codes")
    if codes.dtype != torch.int8:
        size = codes.element_size()
        raise Failed("dtype", got=str(codes.dtype), size=size)
    if (values < -127).any():
        raise Failed("code")
    expect.tensor(scale, "kept.scale")
    if scale.numel() == 1:
        raise Failed("one_scale", rows=len(m))
    dtypes = {"kept.scale": scale.dtype}
    scale = expect.shape(scale, (len(m), 1), "kept.scale")
    got = expect.call(lambda: kept.load())
    expect.tensor(got, "kept.load()")
    dtypes["kept.load()"] = got.dtype
    got = expect.shape(got, m.shape, "kept.load()")
    for what, dtype in dtypes.items():
        if dtype != torch.float32:
            raise Failed("float", what=what, got=str(dtype))
    if not np.isfinite(got).all():
        raise Failed("zeros")
    step = np.abs(m).max(1, keepdims=True) / 127
    error, allowed = np.abs(got - m), step * 0.5001
    if (error <= allowed).all():
        mismatch = (np.abs(scale - step) > 1e-3 * step) & (step > 0)
        for row in np.flatnonzero(mismatch):
            facts = {"got": float(scale[row, 0]), "want": float(step[row, 0])}
            raise Failed(
                "expect.element", what="kept.scale", where=[int(row), 0], **facts
            )
        if (np.abs(got - values * scale) > 1e-3 * step).any():
            raise Failed("apart")
        return
    if len(np.unique(scale)) == 1 and scale.any():
        raise Failed("one_scale", rows=len(m))
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.nan_to_num(m / step)
    clear = np.abs(exact - np.round(exact)) > 1e-4
    for cut in (np.trunc, np.floor):
        if (values == cut(exact))[clear].all():
            raise Failed("cut")
    row, column = np.unravel_index(np.argmax(error - allowed), m.shape)
    facts = {"row": int(row), "value": m[row, column], "got": got[row, column]}
    facts |= {"largest": np.abs(m[row]).max(), "allowed": step[row, 0] / 2}
    raise Failed("error", **facts)
