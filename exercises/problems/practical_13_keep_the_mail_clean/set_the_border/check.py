"""The border beyond which a part of the wanted mails is lost."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CASES = (
    (40, 25, 0.05),
    (200, 60, 0.005),
    (90, 90, 0.1),
    (150, 30, 0.02),
    (130, 30, 0.02),
    (10, 400, 0.3),
)
NONE = (30, 12, 0.01)  # not one mail may be lost


def check(answer, rng) -> None:
    expect.function(answer, "border")
    for wanted, unwanted, lost in (*CASES, NONE):
        scores = np.concatenate([rng.normal(-1, 1, wanted), rng.normal(1, 1, unwanted)])
        labels = np.repeat([0, 1], [wanted, unwanted])
        order = rng.permutation(len(scores))
        scores, labels = apart(scores[order]).round(6), labels[order]
        call = f"border({len(scores)} scores, labels, {lost:g})"
        got = expect.shape(
            expect.call(answer, scores.copy(), labels.copy(), lost), (), call
        )
        compare(float(got), scores, labels, lost, call)


def apart(scores):
    """Moves each score up by 0.001 per smaller one: no two are near each other."""
    return scores + 1e-3 * scores.argsort().argsort()


def compare(got: float, scores, labels, lost: float, call: str) -> None:
    wanted = np.sort(scores[labels == 0])[::-1]
    allowed = int(lost * len(wanted))
    if abs(got - wanted[allowed]) < 1e-5:
        return
    facts = {"call": call, "got": got, "allowed": allowed, "count": len(wanted)}
    every = np.sort(scores)[::-1]
    if abs(got - every[int(lost * len(every))]) < 1e-5:
        raise Failed("all", **facts)
    own = int((wanted > got).sum())
    if own > allowed:
        raise Failed("lost", lost=own, **facts)
    if own == allowed:
        raise Failed("between", want=float(wanted[allowed]), **facts)
    raise Failed("smaller", lost=own, want=float(wanted[allowed]), **facts)
