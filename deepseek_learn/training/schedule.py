"""Learning-rate schedules, which return a factor for the learning rate at each step.

Steps are counted from 0 over all epochs.
"""

import math


def cosine(step: int, steps: int, warmup: float = 0.1) -> float:
    """Return the factor for a linear warm-up followed by a half cosine down to 0.

    `warmup` is the fraction of all steps spent on the warm-up.

    >>> from deepseek_learn.training import cosine
    >>> [round(cosine(step, 100), 2) for step in (0, 10, 55, 100)]
    [0.1, 1.0, 0.48, 0.0]
    """
    progress = (step + 1) / max(steps, 1)
    if progress < warmup or warmup >= 1:
        return min(progress / warmup, 1.0)
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1)))


def wsd(step: int, steps: int, warmup: float = 0.05, decay: float = 0.5) -> float:
    """Return the factor for a schedule with warm-up, stable and decay phases.

    The factor rises linearly over the first `warmup` fraction of the steps, stays at 1,
    and falls linearly over the last `decay` fraction (Hu et al. 2024, "MiniCPM", arXiv
    2404.06395).

    >>> from deepseek_learn.training import wsd
    >>> [round(wsd(step, 100), 2) for step in (0, 5, 49, 75, 99)]
    [0.2, 1.0, 1.0, 0.5, 0.02]
    """
    steps = max(steps, 1)
    up = (step + 1) / (warmup * steps) if warmup else 1.0
    down = (1 - step / steps) / decay if decay else 1.0
    return max(min(up, 1.0, down), 0.0)


def constant(step: int, steps: int) -> float:
    """Return 1 at every step.

    >>> from deepseek_learn.training import constant
    >>> constant(step=7, steps=10)
    1.0
    """
    return 1.0
