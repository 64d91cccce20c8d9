# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A momentum in one byte a weight: int8 codes, one scale a row."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "OneByte")
    for trial in range(6):
        rows, columns = int(rng.integers(2, 10)), int(rng.integers(3, 40))
        kept = expect.call(answer)
        for m in (draw(rng, rows, columns, trial), draw(rng, rows, columns, 1)):
            store(kept, m)
            compare(kept, m.astype(float))
            again(answer, kept, m)


def store(kept, m: np.ndarray) -> None:
    expect.call(lambda m: kept.store(m), torch.from_numpy(m))


def load(kept) -> np.ndarray:
    return expect.numbers(expect.call(lambda: kept.load()), "kept.load()")


def again(answer, kept, m) -> None:
    """Reading changes nothing, nor does another one that stores; nothing else is kept."""
    before = load(kept)
    if not np.array_equal(load(kept), before):
        raise Failed("one_byte_a_weight.again")
    store(expect.call(answer), np.ones_like(m) - m)
    if not np.array_equal(load(kept), before):
        raise Failed("one_byte_a_weight.shared")
    for name, value in vars(kept).items():
        size = getattr(value, "nbytes", 0)
        if name not in ("codes", "scale") and size >= m.size:
            raise Failed("one_byte_a_weight.more", name=name, size=size)


def draw(rng, rows: int, columns: int, trial: int) -> np.ndarray:
    """Rows of very different magnitude, one of zeros in every second trial."""
    if trial == 0:
        return np.zeros((rows, columns), "float32")  # as a momentum begins
    sizes = 10 ** rng.uniform(-8, 3, (rows, 1))
    sizes[rng.permutation(rows)[:2]] = [[1e-8], [1e3]]
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
        raise Failed("one_byte_a_weight.dtype", got=str(codes.dtype), size=size)
    if (values < -127).any():
        raise Failed("one_byte_a_weight.code")
    expect.tensor(scale, "kept.scale")
    if scale.numel() == 1:
        raise Failed("one_byte_a_weight.one_scale", rows=len(m))
    dtypes = {"kept.scale": scale.dtype}
    scale = expect.shape(scale, (len(m), 1), "kept.scale")
    got = expect.call(lambda: kept.load())
    expect.tensor(got, "kept.load()")
    dtypes["kept.load()"] = got.dtype
    got = expect.shape(got, m.shape, "kept.load()")
    for what, dtype in dtypes.items():
        if dtype != torch.float32:
            raise Failed("one_byte_a_weight.float", what=what, got=str(dtype))
    if not np.isfinite(got).all():
        raise Failed("one_byte_a_weight.zeros")
    step = np.abs(m).max(1, keepdims=True) / 127
    error, allowed = np.abs(got - m), step * 0.5001
    if (error <= allowed).all():
        wrong = (np.abs(scale - step) > 1e-3 * step) & (step > 0)
        for row in np.flatnonzero(wrong):
            facts = {"got": float(scale[row, 0]), "want": float(step[row, 0])}
            raise Failed(
                "expect.element", what="kept.scale", where=[int(row), 0], **facts
            )
        if (np.abs(got - values * scale) > 1e-3 * step).any():
            raise Failed("one_byte_a_weight.apart")
        return
    if len(np.unique(scale)) == 1 and scale.any():
        raise Failed("one_byte_a_weight.one_scale", rows=len(m))
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.nan_to_num(m / step)
    clear = np.abs(exact - np.round(exact)) > 1e-4
    for cut in (np.trunc, np.floor):
        if (values == cut(exact))[clear].all():
            raise Failed("one_byte_a_weight.cut")
    row, column = np.unravel_index(np.argmax(error - allowed), m.shape)
    facts = {"row": int(row), "value": m[row, column], "got": got[row, column]}
    facts |= {"largest": np.abs(m[row]).max(), "allowed": step[row, 0] / 2}
    raise Failed("one_byte_a_weight.error", **facts)


def stored(store: str, load: str = "return self.codes * self.scale") -> str:
    return f"""import torch


class OneByte:
    def store(self, m):
        {store}

    def load(self):
        {load}
"""


SCALE = "self.scale = m.abs().amax(1, keepdim=True) / 127"
CODES = "self.codes = (m / self.scale.clamp_min(1e-30)).round().to(torch.int8)"
NEXT = "\n        "


def changed(old: str, new: str) -> str:
    body = SCALE + NEXT + CODES
    assert old in body
    return stored(body.replace(old, new))


problem = Problem(
    id="one_byte_a_weight",
    version=3,
    lesson="deepopt",
    stage="basic",
    title={"en": "One byte a weight", "zh": "每个权重一个字节"},
    prompt={
        "en": """A momentum in float32 takes four bytes a weight, as much as the model. One byte is enough, if each row has a scale of its own.

Write the class `OneByte`:

- `store(m)` takes a float32 matrix `[rows, columns]` and keeps it as `self.codes`, int8 `[rows, columns]`, and `self.scale`,
  float32 `[rows, 1]`: each row's largest magnitude divided by 127. Leave `m` as it is;
- `load()` returns the matrix in float32, each entry at most **half a scale** from what it was. Nothing else of `m` may be kept.

The codes run from -127 to 127. In one matrix there may be a row of magnitude 1000, one of 0.00000001 and one of nothing but
zeros, which comes back as zeros. `store` may be called again; `load` gives what was stored last.""",
        "zh": """float32 的动量每个权重占四个字节，和模型本身一样大。只要每一行有自己的缩放系数，一个字节就够了。

请编写类 `OneByte`：

- `store(m)` 接收 float32 矩阵 `[rows, columns]`，把它保存为 `self.codes`（int8，`[rows, columns]`）和 `self.scale`（float32，`[rows, 1]`）：后者是每一行的最大绝对值除以 127。不要改动 `m`；
- `load()` 返回 float32 矩阵，每个元素与原值最多相差**半个缩放系数**。除此之外，不能再保存 `m` 的任何内容。

编码取 -127 到 127。同一个矩阵里，可能有一行的量级是 1000，一行是 0.00000001，还有一行全是零：全零的行取回时仍是零。`store` 可以多次调用；`load` 返回最近一次存入的矩阵。""",
    },
    starter=stored("...", "..."),
    answer="OneByte",
    hints=(
        {
            "en": "`m.abs().amax(1, keepdim=True)` is the largest magnitude of each row, `[rows, 1]`. `to(torch.int8)` cuts off what "
            "is behind the point.",
            "zh": "`m.abs().amax(1, keepdim=True)` 是每一行的最大绝对值，形状 `[rows, 1]`。`to(torch.int8)` 会直接截掉小数部分。",
        },
        {
            "en": "Round first, and mind the row of zeros: `(m / self.scale.clamp_min(1e-30)).round().to(torch.int8)`. Reading is one "
            "multiplication.",
            "zh": "先舍入再转换，并留意全零的行：`(m / self.scale.clamp_min(1e-30)).round().to(torch.int8)`。取回只需一次乘法。",
        },
    ),
    check=check,
    solution=stored(SCALE + NEXT + CODES),
    wrong={
        "one scale for all": changed("m.abs().amax(1, keepdim=True)", "m.abs().amax()"),
        "one scale, repeated for each row": changed(
            "m.abs().amax(1, keepdim=True)", "m.abs().amax().expand(len(m), 1)"
        ),
        "a scale for each column": changed("amax(1,", "amax(0,"),
        "cut off, not rounded": changed(".round()", ""),
        "rounded down": changed(".round()", ".floor()"),
        "NaN for a row of zeros": stored(
            SCALE + NEXT + CODES,
            "return self.codes * self.scale**2 / self.scale",
        ),
        "the scale upside down": stored(
            "self.scale = 127 / m.abs().amax(1, keepdim=True).clamp_min(1e-30)"
            + NEXT
            + "self.codes = (m * self.scale).round().to(torch.int8)",
            "return self.codes / self.scale",
        ),
        "an epsilon larger than the scale": changed(
            "self.scale.clamp_min(1e-30)", "(self.scale + 1e-8)"
        ),
        "128 overflows": changed("/ 127", "/ 128"),
        "-128 is used": changed("/ 127", "/ 128").replace(
            ".round()", ".round().clamp(-128, 127)"
        ),
        "the largest value, not the largest magnitude": changed("m.abs()", "m"),
        "not in one byte": changed(".to(torch.int8)", ""),
        "the scale forgotten": stored(
            SCALE + NEXT + CODES, "return self.codes.float()"
        ),
        "the input divided in place": changed(
            "m / self.scale.clamp_min(1e-30)", "m.div_(self.scale.clamp_min(1e-30))"
        ),
        "the matrix itself beside codes of zeros": stored(
            "self.m = m.clone()"
            + NEXT
            + SCALE
            + NEXT
            + "self.codes = torch.zeros_like(m, dtype=torch.int8)",
            "return self.m",
        ),
        "spoiled by reading": stored(
            SCALE + NEXT + CODES,
            "m = self.codes * self.scale"
            + NEXT
            + "self.scale.mul_(2)"
            + NEXT
            + "return m",
        ),
        "kept by the class": stored(
            (SCALE + NEXT + CODES).replace("self.", "OneByte."),
        ),
        "a copy beside it": stored(
            "self.copy = m.clone()" + NEXT + SCALE + NEXT + CODES
        ),
        "a scale of eight bytes": changed("m.abs()", "m.double().abs()"),
        "stored once": stored(
            'if hasattr(self, "codes"):\n            return'
            + NEXT
            + SCALE
            + NEXT
            + CODES
        ),
    },
    right={
        "a class that inherits, row by row": """import torch


class Rows:
    def store(self, m):
        self.scale = torch.stack([row.abs().max() for row in m])[:, None] / 127
        safe = torch.where(self.scale > 0, self.scale, torch.ones_like(self.scale))
        self.codes = torch.round(m / safe).clamp(-127, 127).char()

    def load(self):
        return self.scale.mul(self.codes)


class OneByte(Rows):
    pass
""",
    },
    points=2,
    minutes=15,
)
