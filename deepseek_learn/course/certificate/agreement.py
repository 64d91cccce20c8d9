"""When the repetition of a run counts as the same run.

On the machine that a portfolio was made on (the same processor and versions), all
predictions must be the same. Elsewhere a sum in another order may turn single
predictions: then 95 % must be, and the score may differ by 0.05.
"""

from collections.abc import Sequence

import numpy as np

from .refusal import Refused
from .results import Run

ELSEWHERE, SCORE = 0.95, 0.05


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the part of the predictions that are the same."""
    return float(np.mean(np.asarray(first) == np.asarray(second)))


def check_same(task: str, recorded: Run, again: Run, same_machine: bool) -> float:
    """Return the agreement of a recorded run with its repetition.

    Raises:
        Refused: if it is too low to be the same run.
    """
    part = agreement(recorded.predictions, again.predictions)
    close = part >= ELSEWHERE and abs(recorded.score - again.score) <= SCORE
    if part < 1 and (same_machine or not close):
        values = {"recorded": f"{recorded.score:.3f}", "again": f"{again.score:.3f}"}
        seed = recorded.seed
        raise Refused(
            "not_reproduced", project=task, seed=seed, part=f"{part:.0%}", **values
        )
    return part
