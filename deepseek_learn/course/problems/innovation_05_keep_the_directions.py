# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The fewest directions that hold a share of the mean square of what is kept."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "keep(y, share)"


def check(answer, rng) -> None:
    expect.function(answer, "keep")
    for trial in range(8):
        size = int(rng.integers(5, 10))
        y = tokens(rng, size)
        wanted = {0: 1, 1: size}.get(trial, int(rng.integers(2, size - 1)))
        if trial == 2:
            y, wanted = y[:4], 2  # fewer tokens than numbers
        held = np.cumsum(np.linalg.svd(y, compute_uv=False) ** 2) / (y**2).sum()
        share = float(np.append(0, held)[wanted - 1] + held[wanted - 1]) / 2
        got = expect.call(answer, torch.from_numpy(y).float(), share)
        compare(got, y, share, wanted)
    y = just_half(rng)
    got = expect.call(answer, torch.from_numpy(y).float(), 0.5)
    compare(got, y, 0.5, 1)


def just_half(rng) -> np.ndarray:
    """`[5, 5]`, one direction of which holds exactly half, free of rounding."""
    y = np.diag([2.0, 1, 1, 1, 1] * rng.choice([-1, 1], 5))
    return rng.permutation(rng.permutation(y).T)


def tokens(rng, size: int) -> np.ndarray:
    """`[40, size]`, in which each direction holds less; their mean is far from 0."""
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    y = rng.normal(size=(40, size)) * 0.75 ** np.arange(size) + rng.normal(size=size)
    return y @ turn


def compare(got, y, share, wanted) -> None:
    expect.tensor(got, CALL, torch.float32)
    size, shape = y.shape[1], tuple(got.shape)
    if len(shape) != 2 or shape[0] != size:
        raise Failed("keep_the_directions.shape", got=shape, size=size)
    u, count = expect.shape(got, shape, CALL), shape[1]
    if not np.allclose(u.T @ u, np.eye(count), atol=1e-3):
        raise Failed("keep_the_directions.orthonormal")
    kept = float(((y @ u) ** 2).sum() / (y**2).sum())
    facts = {"got": count, "kept": 100 * kept, "share": 100 * share}
    centred = np.linalg.eigh(np.cov(y.T))[1][:, size - count :]
    if 0 < count < size and np.allclose(u @ u.T, centred @ centred.T, atol=1e-3):
        raise Failed("keep_the_directions.mean")
    if kept < share and count >= wanted:
        raise Failed("keep_the_directions.other", wanted=wanted, **facts)
    if kept < share:
        raise Failed("keep_the_directions.few", **facts)
    if count > wanted:
        raise Failed("keep_the_directions.many", wanted=wanted, **facts)


HEAD = "import torch\n\n\ndef keep(y, share):\n"
BODY = """    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count]
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="keep_the_directions",
    version=2,
    lesson="latent_cache",
    stage="innovation",
    points=2,
    minutes=20,
    right={
        "by singular values, in float64": HEAD
        + """    s, v = torch.linalg.svd(y.double())[1:]
    held, total = 0.0, (y.double() ** 2).sum().item()
    for count, value in enumerate(s.tolist(), 1):
        held += value**2
        if held >= share * total:
            return v[:count].T.float()
""",
    },
    title={"en": "Keep the directions that tokens use", "zh": "保留词元真正用到的方向"},
    prompt={
        "en": """A layer gives each token a vector $y$ of keys and values, `D` numbers; only its products with $r$ directions, the columns of $U$, are kept.

Write `keep(y, share)` with `y` float32 `[N, D]`, one row a token, and `share` between 0 and 1. Return $U$, float32 `[D, r]`, with orthonormal columns, such that

$$ \\sum_n \\|U^\\top y_n\\|^2 \\ge \\mathrm{share} \\cdot \\sum_n \\|y_n\\|^2 $$

and with the **fewest** columns with which that is possible. It is $y$ itself that is kept, not its distance from the mean.""",
        "zh": """某一层为每个词元给出由键和值组成的向量 $y$（`D` 个数），但只保留它在 $r$ 个方向（$U$ 的各列）上的投影。

请编写 `keep(y, share)`：`y` 是 float32 `[N, D]`，每行一个词元；`share` 在 0 与 1 之间。返回 $U$，float32 `[D, r]`，各列标准正交，满足

$$ \\sum_n \\|U^\\top y_n\\|^2 \\ge \\mathrm{share} \\cdot \\sum_n \\|y_n\\|^2 $$

并且列数是能做到这一点的**最少**列数。要保留的是 $y$ 本身，而不是它与均值的差。""",
    },
    starter=HEAD + "    ...\n",
    answer="keep",
    hints=(
        {
            "en": "The best $r$ directions are the eigenvectors of `y.T @ y` with the largest eigenvalues; each eigenvalue is the square that its direction holds.",
            "zh": "最好的 $r$ 个方向是 `y.T @ y` 中特征值最大的特征向量；每个特征值就是该方向所含的平方和。",
        },
        {
            "en": "`torch.linalg.eigh` sorts upwards: turn both results round. `cumsum` then says what the first 1, 2, ... hold together.",
            "zh": "`torch.linalg.eigh` 从小到大排列：把两个结果都反过来。随后 `cumsum` 给出前 1、2……个方向合起来所含的量。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "the mean is taken away first": changed(
            "torch.linalg.eigh(y.T @ y)", "torch.linalg.eigh(torch.cov(y.T))"
        ),
        "the smallest directions": changed("vectors.flip(1)", "vectors"),
        "one too few": changed(".sum()) + 1", ".sum())"),
        "one too many": changed(".sum()) + 1", ".sum()) + 2"),
        "exactly the share is not enough": changed("held < share", "held <= share"),
        "never all of them": changed(
            "[:, :count]", "[:, : min(count, len(values) - 1)]"
        ),
        "never one alone": changed("[:, :count]", "[:, : max(count, 2)]"),
        "shares of the roots": changed(
            "held = values.cumsum(0) / values.sum()",
            "held = values.clamp_min(0).sqrt().cumsum(0) / values.clamp_min(0).sqrt().sum()",
        ),
        "directions as rows": changed("vectors[:, :count]", "vectors[:, :count].T"),
        "columns of other lengths": changed(
            "vectors[:, :count]", "(vectors * values.clamp_min(0).sqrt())[:, :count]"
        ),
    },
)
