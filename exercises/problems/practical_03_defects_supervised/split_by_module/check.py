"""Split at random into whole modules, with a test set of the required size."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

SPLITS = 150  # a module of a quarter of the draws is missing from all of them: 2e-19


def check(answer, rng) -> None:
    expect.function(answer, "split_by_module")
    for trial in range(40):
        sizes, fraction = draw(rng, trial)
        module = np.repeat(names(rng, len(sizes), trial), sizes)
        if trial != 1:
            module = rng.permutation(module)
        seed = int(rng.integers(2**31))
        test = split(answer, module, fraction, seed)
        call = f"split_by_module(module, {fraction:.3g}, seed={seed})"
        compare(test, module, fraction, sizes.max(), call)
        if not np.array_equal(test, split(answer, module, fraction, seed)):
            raise Failed("same_seed", call=call)
    check_draws(answer, rng)


def draw(rng, trial: int) -> tuple[np.ndarray, float]:
    """The sizes of the modules, and a fraction that leaves room for the largest one."""
    if trial in (
        2,
        3,
    ):  # equal sizes: one module more or less is too much or too little
        return np.full(41, 20), (10.25, 10.75)[trial - 2] / 41
    count = int(rng.integers(25, 50))
    # usually very different sizes, as otherwise a fraction of the modules would do
    sizes = rng.integers(48, 73, count) if trial == 4 else rng.integers(1, 100, count)
    room = sizes.max() / sizes.sum()
    return sizes, float(rng.uniform(room, 0.5))


def names(rng, count: int, trial: int) -> np.ndarray:
    drawn = rng.choice(10 * count, count, replace=False)
    return np.array([f"module {n}" for n in drawn]) if trial == 5 else drawn


def split(answer, module, fraction: float, seed: int) -> np.ndarray:
    call = f"split_by_module(module, {fraction:.3g}, seed={seed})"
    got = expect.call(answer, module, fraction, seed)
    test = expect.shape(got, module.shape, call)
    wrong = ~np.isin(test, (0, 1))
    if wrong.any():
        raise Failed("boolean", call=call, got=float(test[wrong][0]))
    return test.astype(bool)


def compare(test, module, fraction: float, largest: int, call: str) -> None:
    both = np.intersect1d(module[test], module[~test])
    if len(both):
        raise Failed("both_sides", call=call, module=both[0])
    want, most = fraction * len(module), largest / 2
    if abs(test.sum() - want) > most + 1e-9:
        raise Failed("size", call=call, got=int(test.sum()), want=want, most=most)


def check_draws(answer, rng) -> None:
    """Any module ends up on either side, with or without any other module."""
    module = np.repeat(np.arange(16), rng.integers(3, 7, 16))
    first = int(rng.integers(2**30))
    tests = [split(answer, module, 0.4, first + i) for i in range(SPLITS)]
    often = np.mean(tests, 0)
    facts = {"count": SPLITS}
    if (often == 0).any():
        raise Failed("never_test", module=module[often == 0][0], **facts)
    if (often == 1).any():
        raise Failed("always_test", module=module[often == 1][0], **facts)
    # two modules of a random draw are apart in about half of the splits
    starts = np.flatnonzero(np.diff(module, prepend=-1))
    sides = np.array(tests)[:, starts].astype(int)  # [SPLITS, modules]
    apart = np.abs(sides[:, :, None] - sides[:, None]).sum(0)  # [modules, modules]
    np.fill_diagonal(apart, SPLITS // 2)
    if apart.min() < SPLITS / 5:
        a, b = np.unravel_index(apart.argmin(), apart.shape)
        raise Failed("together", a=a, b=b, times=int(apart.min()), **facts)
    if apart.max() > SPLITS * 4 / 5:
        a, b = np.unravel_index(apart.argmax(), apart.shape)
        raise Failed("apart", a=a, b=b, times=int(apart.max()), **facts)
