"""The log-count ratio of naive Bayes."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "evidence")
    for count, words, alpha in ((6, 4, 1.0), (40, 15, 1.0), (30, 9, 0.3), (5, 3, 2.0)):
        labels = np.arange(count) < int(rng.integers(2, count - 2))
        labels = rng.permutation(labels).astype(int)
        rate = rng.uniform(0.2, 3, (2, words))
        counts = rng.poisson(rate[labels])
        counts[0] += rng.integers(2, 6, words)  # words occur more than once
        call = f"evidence(counts {[count, words]}, labels, {alpha:g})"
        given = (counts.copy(), labels.copy())
        args = (*given, alpha) if alpha != 1 else given
        compare(expect.call(answer, *args), counts, labels, alpha, call)


def evidence(
    counts, labels, alpha, *, smooth=True, presence=False, documents=False
) -> np.ndarray:
    used = np.minimum(counts, 1) if presence else counts
    parts = []
    for label in (1, 0):
        total = used[labels == label].sum(0) + alpha
        below = total.sum() if smooth else (total - alpha).sum()
        if documents:
            below = alpha + (labels == label).sum()
        parts.append(np.log(total / below))
    return parts[0] - parts[1]


def compare(got, counts, labels, alpha: float, call: str) -> None:
    want = evidence(counts, labels, alpha)
    got = expect.shape(got, want.shape, call)
    if np.allclose(got, want, rtol=1e-5, atol=1e-6):
        return
    guesses = {
        "sign": -want,
        "smoothing": evidence(counts, labels, alpha, smooth=False),
        "presence": evidence(counts, labels, alpha, presence=True),
        "documents": evidence(counts, labels, alpha, documents=True),
    }
    for name, guess in guesses.items():
        if np.allclose(got, guess, rtol=1e-5, atol=1e-6):
            raise Failed(name, call=call)
    word = int(np.argmax(~np.isclose(got, want, rtol=1e-5, atol=1e-6)))
    facts = {"word": word, "want": float(want[word]), "got": float(got[word])}
    raise Failed("value", call=call, **facts)
