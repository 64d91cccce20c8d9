"""The guard's search: find the fewest layers to keep in float, in few measurements."""

import math

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


class CountedLoss:
    """A decreasing loss that counts its evaluations."""

    def __init__(self, needed: int, most: int, aim: float, just: bool, rng):
        self.needed, self.most, self.calls = needed, most, 0
        steps = rng.uniform(0.001, 1.0, most + 1)
        self.losses = aim + np.cumsum(steps[::-1])[::-1]  # falling, all above the aim
        below = np.cumsum(steps) if just else steps[0] + np.cumsum(steps)
        self.losses[needed:] = aim - (below - steps[0] * just)[: most + 1 - needed]

    def __call__(self, count):
        self.calls += 1
        if count not in range(self.most + 1):
            raise Failed("range", count=count, most=self.most)
        return float(self.losses[int(count)])

    __name__ = "lost"


FAR = {9: 1500, 10: 1400, 11: 1, 12: 2}  # trial -> needed count


def check(answer, rng) -> None:
    expect.function(answer, "fewest")
    for trial in range(24):
        most = int(rng.integers(1, 200)) if trial else 64
        needed = int(rng.integers(0, most + 2))  # most + 1: none is enough
        needed = {0: 0, 2: most + 1, 3: most, 5: 1, 7: 0}.get(trial, needed)
        if trial in FAR:  # so many that halving, or steps of √most, takes too long
            most = int(rng.integers(1500, 2000))
            needed = FAR[trial]
        aim = float(rng.choice([0.25, 0.5, 1.0]))
        # in every other trial, the loss at the answer equals the aim
        lost = CountedLoss(needed, most, aim, trial % 2 == 1, rng)
        call = f"fewest(lost, most={most}, aim={aim})"
        got = expect.call(answer, lost, most, aim)
        compare(got, lost, call)


def compare(got, lost: CountedLoss, call: str) -> None:
    possible = lost.needed <= lost.most
    if not possible:
        if got is not None:
            raise Failed("none", call=call, got=got)
    elif got is None:
        raise Failed("missed", call=call, want=lost.needed)
    else:
        value = expect.integer(got, call)
        if value != lost.needed:
            key = "many" if value > lost.needed else "few"
            raise Failed(key, call=call, got=value, want=lost.needed)
    allowed = 4 + 2 * math.ceil(math.log2(max(1, min(lost.needed, lost.most))))
    if lost.calls > allowed:
        raise Failed("calls", call=call, got=lost.calls, want=allowed)
