# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""A matrix product whose inner loop has integers only."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

HEAD = "def linear_int8(q, s_x, z, w, s_w):\n"


def check(answer, rng) -> None:
    expect.function(answer, "linear_int8")
    for trial in range(10):
        rows, inner, columns = (int(n) for n in rng.integers(1, 40, 3))
        inner = 700 if trial == 0 else inner  # a sum that 16 bits do not hold
        q = rng.integers(0, 256, (rows, inner), dtype=np.uint8)
        w = rng.integers(-127, 128, (columns, inner), dtype=np.int8)
        s_x, s_w = float(rng.uniform(0.01, 1)), rng.uniform(0.01, 1, columns)
        z = (0, 255, 128)[trial] if trial < 3 else int(rng.integers(0, 256))
        if trial == 0:
            q[:], w[:] = 255, 127
        call = f"linear_int8(q {list(q.shape)}, s_x, z={z}, w {list(w.shape)}, s_w {list(s_w.shape)})"
        got = expect.call(answer, q, s_x, z, w, s_w)
        compare(got, (q, s_x, z, w, s_w), call)


def compare(got, given, call: str) -> None:
    q, s_x, z, w, s_w = given
    exact = (q.astype(np.int64) - z) @ w.astype(np.int64).T
    want = s_x * exact * s_w
    got = expect.shape(got, want.shape, call)
    guesses = {
        "zero": s_x * (q.astype(np.int64) @ w.astype(np.int64).T) * s_w,
        "scale": s_x * exact,
        "rows": s_x * exact * s_w[:1],
        "mean": s_x * exact * s_w.mean(),
    }
    short = (q.astype(np.int16) - np.int16(z)) @ w.astype(np.int16).T
    guesses |= {"wrapped": s_x * short * s_w}
    near = [key for key, x in guesses.items() if np.allclose(got, x, rtol=1e-6)]
    if np.allclose(got, want, rtol=1e-6, atol=1e-9):
        return
    if len(near) == 1:
        raise Failed(f"multiply_in_integers.{near[0]}", call=call)
    expect.close(got, want, call, 1e-6)


problem = Problem(
    id="multiply_in_integers",
    version=1,
    lesson="deploy",
    stage="practical",
    title={"en": "Multiply in integers", "zh": "用整数做乘法"},
    prompt={
        "en": """What does the runtime do with the pairs? It multiplies the *codes* and scales once at the end. Write
`linear_int8(q, s_x, z, w, s_w)` in NumPy:

- `q` uint8 `[N, K]`, the input's codes: $x = s_x (q - z)$, with a number `s_x` and a whole number `z`;
- `w` int8 `[M, K]`, the weight's codes: row $m$ is $s_w[m] \\cdot w[m]$, with `s_w` `[M]`.

Return $x W^\\top$ as floats `[N, M]`. Sum in int32 (`q.astype(np.int32)`): a product of bytes does not fit into a byte. NumPy is
imported as `np`.""",
        "zh": """运行时怎样处理这些节点对？它把*编码*相乘，最后只缩放一次。请用 NumPy 编写 `linear_int8(q, s_x, z, w, s_w)`：

- `q` 为 uint8 `[N, K]`，是输入的编码：$x = s_x (q - z)$，`s_x` 是一个数，`z` 是一个整数；
- `w` 为 int8 `[M, K]`，是权重的编码：第 $m$ 行为 $s_w[m] \\cdot w[m]$，`s_w` 为 `[M]`。

返回 $x W^\\top$，浮点数 `[N, M]`。请用 int32 累加（`q.astype(np.int32)`）：字节的乘积放不进一个字节。NumPy 已导入为 `np`。""",
    },
    starter="import numpy as np\n\n\n" + HEAD + "    ...\n",
    answer="linear_int8",
    hints=(
        {
            "en": "The zero point leaves the sum: $\\sum_k (q - z) w = \\sum_k q\\,w - z \\sum_k w$. Real kernels "
            "keep the last sum ready, for the weight does not change.",
            "zh": "零点可以提到求和外面：$\\sum_k (q - z) w = \\sum_k q\\,w - z \\sum_k w$。真正的内核会预先算好最后那个和，因为权重不变。",
        },
        {
            "en": "`total = (q.astype(np.int32) - z) @ w.astype(np.int32).T`, then `s_x * total * s_w`.",
            "zh": "`total = (q.astype(np.int32) - z) @ w.astype(np.int32).T`，再乘 `s_x * total * s_w`。",
        },
    ),
    check=check,
    kind="graded",
    wrong={
        "no zero point": HEAD
        + "    return s_x * (q.astype('int32') @ w.astype('int32').T) * s_w\n",
        "no scale of the weight": HEAD
        + "    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T)\n",
        "one scale for all rows": HEAD
        + "    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T) * s_w[0]\n",
        "the mean scale for all rows": HEAD
        + "    return s_x * ((q.astype('int32') - z) @ w.astype('int32').T) * s_w.mean()\n",
        "sums in 16 bits": HEAD
        + "    return s_x * ((q.astype('int16') - z) @ w.astype('int16').T) * s_w\n",
    },
    points=2,
    minutes=15,
)
