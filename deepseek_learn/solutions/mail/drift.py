r"""Has the share of unwanted emails changed? A chart of cumulative sums.

After :math:`n` emails, with :math:`x_i = 1` if an email is unwanted, and for a share whose
odds :math:`p/(1-p)` have become :math:`r` times as large,

.. math:: S_i = \max(0,\ S_{i-1} + x_i \log\tfrac{q}{p} + (1-x_i)\log\tfrac{1-q}{1-p}),
          \quad \tfrac{q}{1-q} = r\,\tfrac{p}{1-p}

(Page 1954, "Continuous inspection schemes", Biometrika 41, 100-115). Two sums are followed,
for :math:`r = 2` and :math:`r = 1/2`. The share `p` comes from the first emails, and the
alarm's limit from simulations that draw these, too: if nothing changes, five in a hundred
streams alarm within a thousand emails.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REFERENCE, RATIO = 300, 2.0  # emails that set the share; the change of the odds
LEAST = 50  # emails before a change
HORIZON, FALSE, STREAMS = 1000, 0.05, 1000  # emails; false alarms in them; simulations


@dataclass(frozen=True)
class Change:
    """A change of the share of unwanted emails.

    Attributes:
        alarm: the position of the mail at which it was noticed.
        start: the position at which it most likely began.
        before, after: the share before `start`, and from there to `alarm`.
    """

    alarm: int
    start: int
    before: float
    after: float


def changes(unwanted: Sequence[bool], reference: int = REFERENCE) -> list[Change]:
    """Return the changes in a stream of emails, in the order of their arrival.

    After an alarm, the emails that follow set a new share; after a thousand emails without
    an alarm, the latest of them do.

    Args:
        unwanted: the verdicts.
        reference: how many emails set the share.

    Raises:
        ValueError: if `reference` is less than 50.
    """
    if reference < LEAST:
        raise ValueError(f"reference must be at least {LEAST}; got {reference}.")
    x, found, at = np.asarray(unwanted, dtype=float), [], 0
    while len(x) - at > reference:
        share = _share(x[at : at + reference].sum(), reference)
        limit = _limit(share, reference)
        end = min(len(x), at + reference + HORIZON)
        alarm = _alarm(x[:end], at + reference, share, limit)
        if alarm is None:
            at = end - reference  # the latest emails set the share anew
            if end == len(x):
                break
            continue
        start = at + _split(x[at : alarm + 1])
        before, after = float(x[at:start].mean()), float(x[start : alarm + 1].mean())
        found.append(Change(alarm, start, before, after))
        at = alarm + 1
    return found


def _alarm(x: np.ndarray, start: int, share: float, limit: float) -> int | None:
    steps, sums = _steps(share), np.zeros(2)
    for place in range(start, len(x)):
        sums = np.maximum(0, sums + steps[int(x[place])])
        if sums.max() > limit:
            return place
    return None


def _split(x: np.ndarray) -> int:
    """Return where the share most likely changed: by maximum likelihood."""
    counts = np.cumsum(x)[LEAST - 1 : -1]
    lengths = np.arange(LEAST, len(x))

    def likelihood(count: np.ndarray, of: np.ndarray) -> np.ndarray:
        rate = np.clip(count / of, 1e-9, 1 - 1e-9)
        return count * np.log(rate) + (of - count) * np.log(1 - rate)

    both = likelihood(counts, lengths)
    both = both + likelihood(x.sum() - counts, len(x) - lengths)
    return int(both.argmax()) + LEAST


def _share(count: float, of: int) -> float:
    return float((count + 0.5) / (of + 1))  # never 0 or 1


def _steps(share: np.ndarray | float) -> np.ndarray:
    """Return what a wanted and an unwanted email add to the sums, `[2, 2, ...]`."""
    share = np.asarray(share)
    odds = np.stack([RATIO * share / (1 - share), share / (1 - share) / RATIO])
    other = odds / (1 + odds)
    return np.stack([np.log((1 - other) / (1 - share)), np.log(other / share)])


def _limit(share: float, reference: int) -> float:
    rng = np.random.default_rng(0)
    counts = rng.binomial(reference, share, STREAMS)
    steps = _steps((counts + 0.5) / (reference + 1))
    sums, most = np.zeros((2, STREAMS)), np.zeros(STREAMS)
    for _ in range(HORIZON):
        own = np.where(rng.random(STREAMS) < share, steps[1], steps[0])
        sums = np.maximum(0, sums + own)
        most = np.maximum(most, sums.max(0))
    return float(np.quantile(most, 1 - FALSE))
