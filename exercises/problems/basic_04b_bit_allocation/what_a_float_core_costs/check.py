"""The bits per weight that a full-precision core leaves for all other weights."""

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

FLOAT, SCALE, FEWEST = 32, 16, 2  # bits
CLOSE = 1e-5  # float32 is accurate enough


def check(answer, rng) -> None:
    expect.function(answer, "bits_left")
    remaining = {"negative": 4, "too few": 4, "enough": 6, "enough, no core": 2}
    while max(remaining.values()) > 0:
        core = float(rng.choice([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]))
        target = round(float(rng.uniform(0.05, 0.9)), 3)
        group = int(rng.choice([16, 32, 48, 64, 128]))
        bits = reference(core, target, group)
        if abs(bits - FEWEST) < 0.01 or remaining[kind(bits, core)] == 0:
            continue  # a rounding error would decide the result
        remaining[kind(bits, core)] -= 1
        compare(expect.call(answer, core, target, group), bits, core, target, group)
    for core in (0, 0.5):  # exactly 2 bits, without rounding
        group = int(rng.choice([16, 32, 64, 128]))
        target = core + (1 - core) * (FEWEST + SCALE / group) / FLOAT
        compare(expect.call(answer, core, target, group), FEWEST, core, target, group)
        for nearby in (target - 1e-4, target + 1e-4):
            bits = reference(core, nearby, group)
            compare(expect.call(answer, core, nearby, group), bits, core, nearby, group)


def kind(bits: float, core: float) -> str:
    if bits < FEWEST:
        return "negative" if bits < 0 else "too few"
    return "enough" if core else "enough, no core"


def reference(core: float, target: float, group: int) -> float:
    """Return the bits per remaining weight, computed for 1,000 weights."""
    budget = 1000 * target * FLOAT
    rest_bits, weights = budget - 1000 * core * FLOAT, 1000 * (1 - core)
    return rest_bits / weights - SCALE / group


def compare(got, bits: float, core: float, target: float, group: int) -> None:
    call = f"bits_left({core}, {target}, {group})"
    if got is None:
        if bits >= FEWEST:
            raise Failed("possible", call=call, bits=bits)
        return
    value = float(expect.shape(got, (), call))
    if bits >= FEWEST and abs(value - bits) <= CLOSE * bits:
        return
    if bits < FEWEST:
        facts = {"call": call, "got": value, "bits": bits, "fewest": FEWEST}
        raise Failed("impossible", **facts)
    if abs(value - bits - SCALE / group) < CLOSE:
        raise Failed("scales", call=call, scale=SCALE / group)
    unshared = (bits + SCALE / group) * (1 - core) - SCALE / group
    if core and abs(value - unshared) < CLOSE:
        raise Failed("share", call=call, rest=1 - core)
    raise Failed("expect.value", what=call, got=value, want=bits)
