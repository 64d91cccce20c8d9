# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Round a matrix to codes of b bits, with one scale a group of weights."""

import numpy as np
import torch

from .. import expect
from ..problem import Failed, Problem

CALL = "quantise(weight, bits, group_size)"


def check(answer, rng) -> None:
    expect.function(answer, "quantise")
    for trial, bits in enumerate(rng.permutation((1, 2, 3, 4, 5, 8)).tolist()):
        rows, groups = (int(n) for n in rng.integers(3, 8, size=2))
        size = int(rng.choice([5, 8, 16, 32]))
        if trial == 1:  # the smallest: one row of one group
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
        raise Failed("rounding_with_groups.shared")
    if (wrong := ~(np.abs(s - want) <= 1e-5 * want)).any():
        place = tuple(np.argwhere(wrong)[0])
        facts = {"got": float(s[place]), "want": float(want[place])}
        where = [int(i) for i in place]
        raise Failed("expect.element", what=f"{CALL}[1]", where=where, **facts)
    odd = ~((q == np.floor(q)) & (q >= 0) & (q < 2 * half))
    if odd.any():
        facts = {"got": float(q[odd][0]), "bits": bits, "top": 2 * half - 1}
        raise Failed("rounding_with_groups.range", **facts)
    # an exact tie may go either way, and float32 may see one where float64 does not
    moved = np.abs(q - half - weight / np.repeat(s, size, axis=1))
    if moved.max() > 0.5 + 1e-4:
        row, column = (int(i) for i in np.unravel_index(moved.argmax(), moved.shape))
        facts = {"where": [row, column], "moved": float(moved.max()), "bits": bits}
        raise Failed("rounding_with_groups.bound", **facts)
    expect.tensor(codes, f"{CALL}[0]", torch.uint8)
    expect.tensor(scales, f"{CALL}[1]", torch.float32)


HEAD = "import torch\n\n\ndef quantise(weight, bits, group_size):\n"
BODY = """    N, K = weight.shape
    half = 2 ** (bits - 1)
    groups = weight.view(N, K // group_size, group_size)
    scale = groups.abs().amax(2, keepdim=True) / (half - 0.5)  # [N, K / G, 1]
    codes = (groups / scale + half).round().clamp(0, 2 * half - 1)
    return codes.to(torch.uint8).view(N, K), scale[:, :, 0]
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="rounding_with_groups",
    version=2,
    lesson="quantisation",
    stage="basic",
    title={"en": "Round with one scale a group", "zh": "分组取尺度的舍入"},
    prompt={
        "en": """Each row of `weight` (float32, `[N, K]`) is cut into groups of `group_size` neighbours; `K` is
a multiple of it, and no group is all zeros. Write `quantise(weight, bits, group_size)`,
which returns two tensors:

- `codes`, uint8 `[N, K]`: whole numbers $q$ from 0 to $2^b - 1$;
- `scales`, float32 `[N, K / group_size]`, one a group: the group's largest absolute
  value divided by $2^{b-1} - \\tfrac12$.

A code stands for $\\hat w = s\\,(q - 2^{b-1})$, and each $q$ is the nearest that there is, so
that **every** weight keeps the bound $|w - \\hat w| \\le s/2$, the largest one included.""",
        "zh": """`weight`（float32，`[N, K]`）的每一行切成若干组，每组是相邻的 `group_size` 个权重；`K` 是它的整数倍，并且没有全为零的组。请编写 `quantise(weight, bits, group_size)`，返回两个张量：

- `codes`，uint8，`[N, K]`：从 0 到 $2^b - 1$ 的整数编码 $q$；
- `scales`，float32，`[N, K / group_size]`，每组一个尺度：组内最大的绝对值除以 $2^{b-1} - \\tfrac12$。

编码代表的值是 $\\hat w = s\\,(q - 2^{b-1})$，每个 $q$ 都取最近的那个编码。这样**每个**权重都满足 $|w - \\hat w| \\le s/2$，最大的那个也不例外。""",
    },
    starter=HEAD + "    ...\n",
    answer="quantise",
    hints=(
        {
            "en": "`weight.view(N, K // group_size, group_size)` puts each group on an "
            "axis of its own; take the largest absolute value along that axis.",
            "zh": "`weight.view(N, K // group_size, group_size)` 让每组单独占一个轴；沿这个轴取绝对值的最大值。",
        },
        {
            "en": "Scale, shift, round, clip, in this order: `w / s + half`, `.round()`, "
            "`.clamp(0, 2 * half - 1)` with `half = 2 ** (bits - 1)`.",
            "zh": "依次是缩放、平移、取整、截断：`w / s + half`，`.round()`，`.clamp(0, 2 * half - 1)`，其中 `half = 2 ** (bits - 1)`。",
        },
        {
            "en": "The largest positive weight lies at `2 ** bits - 0.5`, halfway to a "
            "code that does not exist. uint8 does not complain, it wraps round: clip "
            "before you convert.",
            "zh": "最大的正权重落在 `2 ** bits - 0.5`，再往上半步就是并不存在的编码。uint8 不会报错，而是绕回去：请先截断，再转换类型。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "one scale for the whole row": changed(
            "groups.abs().amax(2, keepdim=True)",
            "groups.abs().amax((1, 2), keepdim=True).expand(N, K // group_size, 1)",
        ),
        "one scale for the whole matrix": changed(
            "groups.abs().amax(2, keepdim=True)",
            "groups.abs().amax().expand(N, K // group_size, 1)",
        ),
        "the scale of a range that leaves out the largest": changed(
            "half - 0.5", "half"
        ),
        "without clipping": changed(".clamp(0, 2 * half - 1)", ""),
        "clipped one code too low": changed("2 * half - 1", "2 * half - 2"),
        "cut off instead of rounded": changed(".round()", ".floor()"),
        "signed codes": changed(
            "(groups / scale + half).round().clamp(0, 2 * half - 1)",
            "(groups / scale).round().clamp(-half, half - 1)",
        ).replace("uint8", "int8"),
        "codes left as floats": changed(".to(torch.uint8)", ""),
        "the largest value, not the largest absolute one": changed(
            "groups.abs().amax", "groups.amax"
        ),
        "groups of every other weight": changed(
            "weight.view(N, K // group_size, group_size)",
            "weight.view(N, group_size, K // group_size).transpose(1, 2)",
        ).replace(".view(N, K), scale", ".reshape(N, K), scale"),
        "scales in float64": changed("scale[:, :, 0]", "scale[:, :, 0].double()"),
        "scales with an axis too many": changed("scale[:, :, 0]", "scale"),
        "codes in int64": changed("torch.uint8", "torch.int64"),
        "divided in place": changed(
            "groups / scale + half", "groups.div_(scale) + half"
        ),
        "the codes' range for the scale": changed("(half - 0.5)", "(2 * half - 1)"),
    },
    right={
        "group by group, halves up": HEAD
        + """    half, codes, scales = 2 ** (bits - 1), [], []
    for row in weight:
        for group in row.split(group_size):
            scales.append(max(abs(w) for w in group.tolist()) / (half - 0.5))
            q = torch.floor(group / scales[-1] + half + 0.5)
            codes.append(torch.minimum(q, torch.tensor(2.0**bits - 1)))
    codes = torch.cat(codes).to(torch.uint8).view_as(weight)
    return codes, torch.tensor(scales).view(len(weight), -1)
""",
        "in NumPy and float64": "import numpy as np\n"
        + HEAD
        + """    groups = weight.double().numpy().reshape(len(weight), -1, group_size)
    scale = np.abs(groups).max(2, keepdims=True) / (2 ** (bits - 1) - 0.5)
    q = np.clip(np.rint(groups / scale) + 2 ** (bits - 1), 0, 2**bits - 1)
    codes = torch.tensor(q.reshape(weight.shape), dtype=torch.uint8)
    return [codes, torch.tensor(scale[..., 0]).float()]
""",
    },
    points=2,
    minutes=20,
)
