"""Whether a repeated run reproduces the recorded one.

On the machine on which the portfolio was made (same processor, same versions), all
predictions must be equal. On other machines the order of floating-point sums may flip a
few predictions: 95 % of them must be equal, and the score may differ by 0.05.
"""

from collections.abc import Sequence

import numpy as np

from .refusal import Refused
from .results import Run

ELSEWHERE, SCORE = 0.95, 0.05


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the fraction of equal predictions."""
    return float(np.mean(np.asarray(first) == np.asarray(second)))


def check_same(task: str, recorded: Run, again: Run, same_machine: bool) -> float:
    """Return the agreement between a recorded run and its repetition.

    Raises:
        Refused: if the agreement is too low.
    """
    fraction = agreement(recorded.predictions, again.predictions)
    close = fraction >= ELSEWHERE and abs(recorded.score - again.score) <= SCORE
    if fraction < 1 and (same_machine or not close):
        values = {"recorded": f"{recorded.score:.3f}", "again": f"{again.score:.3f}"}
        seed = recorded.seed
        raise Refused(
            "not_reproduced", project=task, seed=seed, part=f"{fraction:.0%}", **values
        )
    return fraction
