# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""An odd polynomial of a matrix acts on its singular values alone."""

import numpy as np
import torch

from ...optim.orthogonal import POLAR_EXPRESS
from .. import expect
from ..problem import Failed, Problem

FIVE = ((3.4445, -4.7750, 2.0315),) * 5  # Jordan et al. 2024
CALL = "orthogonalise(x, coefficients)"
TOLERANCE = 1e-3  # five polynomials multiply float32's rounding by up to 500


def check(answer, rng) -> None:
    expect.function(answer, "orthogonalise")
    short, long = int(rng.integers(2, 7)), int(rng.integers(8, 20))
    sizes = (short, short), (short, long), (long, short), (1, long), (long, 1)
    for size in sizes[:3]:  # so small that anything added to the norm shows
        tiny = 1e-7 * rng.normal(size=size)
        compare(answer, tiny.astype("float32"), FIVE)
    for rounds in (1, 2, POLAR_EXPRESS, FIVE):
        for size in sizes:
            x = 10 ** rng.uniform(-3, 2) * rng.normal(size=size)
            coefficients = draw(rng, rounds) if isinstance(rounds, int) else rounds
            compare(answer, x.astype("float32"), coefficients)
    for size in sizes[:3]:
        compare(answer, np.zeros(size, "float32"), FIVE)


def draw(rng, rounds: int) -> tuple:
    """Polynomials whose values stay small for values up to one."""
    ranges = (1, 2), (-1.5, -0.5), (0.1, 0.4)
    return tuple(tuple(float(rng.uniform(*r)) for r in ranges) for _ in range(rounds))


def compare(answer, x, coefficients) -> None:
    got = expect.call(answer, torch.from_numpy(x), coefficients)
    x = x.astype(float)
    want = torch.tensor(reference(x, coefficients, np.linalg.norm(x)))
    if isinstance(got, torch.Tensor) and got.shape == want.shape:
        values = expect.numbers(got, CALL)
        if not x.any() and not np.isfinite(values).all():
            raise Failed("bring_them_to_one.zeros")
        name(values, want.numpy(), x, coefficients)
    expect.close(got, want, CALL, TOLERANCE)


def reference(x, coefficients, norm: float):
    """By the singular values themselves."""
    u, s, v = np.linalg.svd(x / (norm or 1.0), full_matrices=False)
    return u * chain(s, coefficients) @ v


def chain(s, coefficients):
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b, c in coefficients:
            s = a * s + b * s**3 + c * s**5
    return s


def name(values, want, x, coefficients) -> None:
    """Say so where the answer is a known mistake."""

    def alike(guess) -> bool:
        near = TOLERANCE * max(1.0, np.abs(want).max())
        return bool(np.isfinite(guess).all()) and np.allclose(values, guess, 0, near)

    if alike(want):
        return
    size, largest = np.linalg.norm(x), np.linalg.norm(x, 2)
    swapped = [(a, c, b) for a, b, c in coefficients]
    guesses = {
        "elements": chain(x / size, coefficients) if size else x,
        "norm": reference(x, coefficients, 1.0),
        "largest": reference(x, coefficients, largest),
        "swapped": reference(x, swapped, size),
        "order": reference(x, coefficients[::-1], size),
        "first": reference(x, coefficients[:1], size),
    }
    for key, guess in guesses.items():
        if alike(guess):
            raise Failed(f"bring_them_to_one.{key}")


HEAD = "import torch\n\n\ndef orthogonalise(x, coefficients):\n"
BODY = """    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="bring_them_to_one",
    version=2,
    lesson="deepopt",
    stage="basic",
    title={"en": "Bring them to one", "zh": "把奇异值都变成一"},
    prompt={
        "en": """With $X = U S V^\\top$ the product $X X^\\top X$ is $U S^3 V^\\top$: an **odd** polynomial of a matrix acts on its singular values
and leaves the directions alone. So nobody needs to compute an SVD to bring them all near one.

Write `orthogonalise(x, coefficients)` for a float32 matrix `x` `[m, n]`, which may be square, wide or tall:

1. divide it by its Frobenius norm, however small, so that no singular value is above one (a matrix of zeros stays zeros);
2. for each `(a, b, c)` of `coefficients`, in order, apply $p(s) = a s + b s^3 + c s^5$ to all singular values:

$$ X \\leftarrow a X + b\\, X X^\\top X + c\\, (X X^\\top)^2 X. $$

Use matrix products only; this is not checked. (If `x` is tall, transpose it first and back at the end: the products are then of the shorter side.
That is cheaper, but not checked.)""",
        "zh": """设 $X = U S V^\\top$，则 $X X^\\top X = U S^3 V^\\top$：矩阵的**奇次**多项式只作用在奇异值上，方向不变。所以不必计算 SVD，也能把所有奇异值都变到接近一。

请编写 `orthogonalise(x, coefficients)`，其中 `x` 是 float32 矩阵 `[m, n]`，可以是方的、宽的或高的：

1. 除以它的 Frobenius 范数（无论多小），使所有奇异值都不大于一（全零矩阵仍为全零）；
2. 对 `coefficients` 中的每一组 `(a, b, c)`，依次把 $p(s) = a s + b s^3 + c s^5$ 作用到所有奇异值上：

$$ X \\leftarrow a X + b\\, X X^\\top X + c\\, (X X^\\top)^2 X. $$

只用矩阵乘法；这一点不检查。（如果 `x` 是高的，可以先转置，最后再转回来：这样乘法都在较短的一边上进行，更省，但不检查这一点。）""",
    },
    starter=HEAD + "    ...\n",
    answer="orthogonalise",
    hints=(
        {
            "en": "`gram = x @ x.T` is $X X^\\top$; `gram @ x` has the cubed singular values, `gram @ gram @ x` their fifth powers. "
            "`x**3` would be something else: the cube of each element.",
            "zh": "`gram = x @ x.T` 就是 $X X^\\top$；`gram @ x` 的奇异值是三次方，`gram @ gram @ x` 的是五次方。`x**3` 则是另一回事：每个元素的三次方。",
        },
        {
            "en": "The norm: `x.norm()` of a matrix is Frobenius'. Zeros: `x / x.norm().clamp_min(1e-20)`. One round: "
            "`x = a * x + (b * gram + c * gram @ gram) @ x`, with a new `gram` each time.",
            "zh": "范数：矩阵的 `x.norm()` 就是 Frobenius 范数。全零：`x / x.norm().clamp_min(1e-20)`。一轮：`x = a * x + (b * gram + c * gram @ gram) @ x`，每轮都要重新算 `gram`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "of each element": HEAD
        + """    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        x = a * x + b * x**3 + c * x**5
    return x
""",
        "not scaled": changed("    x = x / x.norm().clamp_min(1e-20)\n", ""),
        "scaled by the largest singular value": changed(
            "x.norm()", "torch.linalg.matrix_norm(x, 2)"
        ),
        "a small number added to the norm": changed(
            "x.norm().clamp_min(1e-20)", "(x.norm() + 1e-7)"
        ),
        "b and c swapped": changed("b * gram + c *", "c * gram + b *"),
        "a matrix of zeros": changed(".clamp_min(1e-20)", ""),
        "not transposed back": changed("x.T if tall else x\n", "x\n").replace(
            "    x = x\n", "    x = x.T if tall else x\n"
        ),
        "the Gram matrix of the first round": HEAD
        + BODY.replace("        gram = x @ x.T\n", "").replace(
            "    for", "    gram = x @ x.T\n    for"
        ),
        "the Gram matrix on the wrong side": HEAD
        + """    x = x / x.norm().clamp_min(1e-20)
    for a, b, c in coefficients:
        gram = x.T @ x
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
""",
        "only the first polynomial": changed("in coefficients", "in coefficients[:1]"),
        "the last polynomial first": changed(
            "in coefficients", "in reversed(coefficients)"
        ),
        "all exactly one": HEAD
        + """    u, s, v = torch.linalg.svd(x, full_matrices=False)
    return u @ v
""",
    },
    right={
        "never transposed": HEAD
        + """    norm = x.norm()
    x = x / norm if norm > 0 else x.clone()
    for a, b, c in coefficients:
        cube = x @ (x.T @ x)
        x = a * x + b * cube + c * cube @ (x.T @ x)
    return x
""",
        "by singular values": HEAD
        + """    u, s, v = torch.linalg.svd(x.double(), full_matrices=False)
    s = s / max(s.square().sum().sqrt().item(), 1e-30)
    for a, b, c in coefficients:
        s = a * s + b * s**3 + c * s**5
    return u * s @ v
""",
    },
    points=2,
    minutes=20,
)
