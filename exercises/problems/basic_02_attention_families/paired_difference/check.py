"""Is A better than B? The mean paired difference with its 95 % interval."""

import math

from deepseek_learn.course import expect

# 97.5 % quantiles of Student's t, by degrees of freedom (as in any table)
T_975 = {
    2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646,
    8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788,
}  # fmt: skip


def check(answer, rng) -> None:
    expect.function(answer, "paired_difference")
    names = ("mean", "low", "high")
    for trial in range(10):
        n = {1: 3, 2: 13}.get(trial, int(rng.integers(4, 13)))  # both ends of the table
        seed_effect = rng.normal(0.9, 0.05, size=n)  # shared, so pairing pays off
        a = seed_effect + rng.normal(-0.01 if trial % 2 else 0.01, 0.01, size=n)
        b = seed_effect + rng.normal(0, 0.01, size=n)
        if trial == 3:  # a constant difference: zero width
            b = a - 1 / 64
        want = reference(a, b)
        got = expect.call(answer, a, b)
        got = expect.parts(got, 3, "paired_difference(a, b)")
        for name, value, right in zip(names, got, want, strict=True):
            # differences are about 0.01; the table and float32 are good to 1e-6
            expect.close(value, right, name, 1e-5)


def reference(a, b) -> tuple[float, float, float]:
    differences = [float(x - y) for x, y in zip(a, b, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    variance = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    half = T_975[n - 1] * math.sqrt(variance / n)
    return mean, mean - half, mean + half
