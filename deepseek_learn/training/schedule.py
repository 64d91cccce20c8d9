"""Learning-rate schedules: the factor at a step, counted from 0 over all epochs."""

import math


def cosine(step: int, steps: int, warmup: float = 0.1) -> float:
    """Return the factor: a linear warm-up over `warmup`, then a half cosine to 0."""
    progress = (step + 1) / max(steps, 1)
    if progress < warmup or warmup >= 1:
        return min(progress / warmup, 1.0)
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1)))


def wsd(step: int, steps: int, warmup: float = 0.05, decay: float = 0.5) -> float:
    """Return the factor: a linear rise over `warmup`, 1, a linear fall over `decay`.

    Warm-up, stable, decay: Hu et al. 2024, "MiniCPM", arXiv 2404.06395.
    """
    steps = max(steps, 1)
    up = (step + 1) / (warmup * steps) if warmup else 1.0
    down = (1 - step / steps) / decay if decay else 1.0
    return max(min(up, 1.0, down), 0.0)


def constant(step: int, steps: int) -> float:
    """Return 1 at every step."""
    return 1.0
