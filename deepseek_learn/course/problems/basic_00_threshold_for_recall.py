# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Choose the threshold by what may not be missed."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

RECALLS = [0.5, 0.8, 0.9, 0.95, 1.0]
# how many are defective, and the recall: first the two cases in which counting misses
# goes wrong by rounding, then a single one, one of two, no miss allowed, no sound cell
FIRST = [(5, 0.8), (10, 0.9), (1, 0.5), (2, 0.5), (8, 1.0), (200, 0.95)]


def check(answer, rng) -> None:
    expect.function(answer, "threshold_for_recall")
    for i in range(30):
        few = FIRST[i] if i < len(FIRST) else (None, None)
        # many ties in the second half; all scores are exact in float32
        probability, label, recall = draw(rng, *few, steps=1024 if i < 15 else 16)
        best = reference(probability, label, recall)
        got = expect.call(answer, probability, label, recall)
        got = expect.shape(got, (), "threshold_for_recall(...)")  # one number
        compare(float(got), best, probability[label == 1], recall)


def draw(rng, defective: int | None, recall: float | None, steps: int):
    n = int(rng.integers(20, 200))
    label = (rng.random(n) < 0.3).astype(int)
    label[:3], label[3:6] = 1, 0  # both classes are there
    if defective:
        label = (rng.permutation(n) < defective).astype(int)
    probability = np.round(rng.beta(1 + 2 * label, 3 - label) * steps) / steps
    return probability, label, recall or float(rng.choice(RECALLS))


def reference(probability, label, recall: float) -> float:
    """By trying each score of a defective sample, from the highest down."""
    positive = probability[label == 1]
    for threshold in sorted(set(positive.tolist()), reverse=True):
        if reaches(positive, threshold, recall):
            return threshold
    raise AssertionError("the lowest score reaches every recall")


def reaches(positive, threshold: float, recall: float) -> bool:
    return (positive >= threshold).sum() >= recall * len(positive) - 1e-9


def compare(got: float, best: float, positive, recall: float) -> None:
    if not reaches(positive, got, recall):
        at = float((positive >= got).mean())
        raise Failed("threshold_for_recall.too_high", got=got, recall=at, wanted=recall)
    if got < best:  # the scores are exact in float32, too
        raise Failed("threshold_for_recall.too_low", got=got, want=best)


HEAD = """import numpy as np


def threshold_for_recall(probability, label, recall):
"""
BODY = """    positive = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1]
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="threshold_for_recall",
    version=4,
    lesson="tour",
    stage="basic",
    title={"en": "A threshold for a wanted recall", "zh": "按召回率选阈值"},
    prompt={
        "en": """A factory says: *of 100 defective cells you may miss ten*. That is a recall of 0.9, and it
decides the threshold; 0.5 is only a habit.

Write `threshold_for_recall(probability, label, recall)`: of all thresholds `t` for which
calling every cell with `probability >= t` defective finds at least the share `recall` of
the defective ones (`label == 1`), return the **highest**. Both inputs are numpy arrays of
one length.""",
        "zh": """工厂说：*每 100 片有缺陷的电池，最多漏掉 10 片*。这就是 0.9 的召回率，阈值应由它决定；0.5 只是习惯而已。

请编写 `threshold_for_recall(probability, label, recall)`：把 `probability >= t` 的电池都判为有缺陷，要求至少找出占比 `recall` 的缺陷电池（`label == 1`）；在所有满足要求的阈值 `t` 中，返回**最高**的一个。两个输入是等长的 numpy 数组。""",
    },
    starter=HEAD + "    ...\n",
    answer="threshold_for_recall",
    hints=(
        {
            "en": "Only the defective cells count for recall. Sort their probabilities "
            "from the highest down.",
            "zh": "召回率只跟有缺陷的电池有关。把它们的概率从高到低排序。",
        },
        {
            "en": "With m defective cells you must find `np.ceil(recall * m)` of them; "
            "the threshold is the probability of the last one you need.",
            "zh": "设有 m 片缺陷电池，需要找出 `np.ceil(recall * m)` 片；阈值就是其中最后一片的概率。",
        },
        {
            "en": "If you count what may be missed instead: `(1 - 0.8) * 5` is "
            "0.9999999999999998 in floating point, and `int` makes 0 of it. Add a tiny "
            "amount, 1e-9, before rounding down.",
            "zh": "如果你改为计算最多能漏掉几片：浮点运算中 `(1 - 0.8) * 5` 等于 0.9999999999999998，`int` 会把它变成 0。向下取整之前请先加上 1e-9。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "one half, by habit": HEAD + "    return 0.5\n",
        "an interpolated quantile": HEAD
        + "    return np.quantile(probability[label == 1], 1 - recall)\n",
        "all cells instead of the defective ones": changed("[label == 1]", ""),
        "the misses allowed, rounded down without care": HEAD
        + """    missed = int((1 - recall) * label.sum())
    return np.sort(probability[label == 1])[missed]
""",
        "the lowest threshold": HEAD + "    return probability[label == 1].min()\n",
        "a little below the score": changed("[needed - 1]", "[needed - 1] - 1e-10"),
        "more than the share": changed(
            "np.ceil(recall * len(positive) - 1e-9)",
            "min(recall * len(positive) + 1 + 1e-9, len(positive))",
        ),
        "those above the threshold, not at it": changed(
            "needed - 1", "min(needed, len(positive) - 1)"
        ),
        "equal scores counted once": changed(
            "np.sort(probability[label == 1])", "np.unique(probability[label == 1])"
        ),
        "the scores of the others overwritten": changed(
            "positive =", "probability[label != 1] = -1\n    positive ="
        ),
    },
    right={
        "tries every score": HEAD
        + """    found = probability[label == 1]
    return max(t for t in probability if (found >= t).mean() >= recall)
""",
        "PyTorch in float32": "import math\n\nimport torch\n"
        + HEAD
        + """    p = torch.tensor(probability, dtype=torch.float32)
    p = p[torch.tensor(label == 1)].sort(descending=True).values
    return p[math.ceil(recall * len(p)) - 1]
""",
    },
    points=2,
    minutes=15,
)
