"""Find the highest of three floors on a layer's time, and how close the layer comes."""

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

BOUNDS = ("compute", "memory", "overhead")


TIMES = (0.5, 0.9, 1.0, 1.5, 4.0)  # measured time in floors; below 1 is suspect
CLOSE = 1e-5  # float32 is accurate enough


def check(answer, rng) -> None:
    expect.function(answer, "judge")
    for bound in BOUNDS:
        for times in TIMES:
            case, floor_ms = draw(rng, bound, times)
            got = expect.parts(expect.call(answer, *case), 3, "judge(...)")
            compare(got, case, floor_ms, bound)


def draw(rng, bound: str, times: float) -> tuple[tuple, dict[str, float]]:
    """Draw a layer on a machine, and its floors; `bound` is clearly the highest."""
    while True:
        flops, moved = (int(10 ** rng.uniform(3, 10)) for _ in range(2))
        if times == 1:  # a layer that only moves data, or one that only computes
            flops, moved = (flops, 0) if bound == "compute" else (0, moved)
        calls = int(rng.integers(1, 60))
        peak, bandwidth, call_us = (
            round(float(rng.uniform(*r)), 1) for r in ((40, 900), (5, 90), (1, 9))
        )
        floor_ms = floors(flops, moved, calls, peak, bandwidth, call_us)
        if all(1.2 * floor_ms[o] < floor_ms[bound] for o in BOUNDS if o != bound):
            measured = floor_ms[bound] * times
            return (flops, moved, calls, measured, peak, bandwidth, call_us), floor_ms


def floors(flops, moved, calls, peak, bandwidth, call_us) -> dict[str, float]:
    """Return the floors in milliseconds, computed in seconds."""
    seconds = flops / (peak * 1e9), moved / (bandwidth * 1e9), calls * call_us * 1e-6
    return dict(zip(BOUNDS, (1e3 * s for s in seconds), strict=True))


def compare(got, case: tuple, floor_ms: dict[str, float], bound: str) -> None:
    call = "judge(" + ", ".join(f"{number:.6g}" for number in case) + ")"
    name, highest, roof_share = got
    facts = {"call": call} | {key: f"{value:.4g}" for key, value in floor_ms.items()}
    if not isinstance(name, str) or name not in BOUNDS:
        raise Failed("name", call=call, got=str(name))
    if name != bound:
        raise Failed("bound", got=name, want=bound, **facts)
    value = float(expect.shape(highest, (), f"{call}[1]"))
    floor = floor_ms[bound]
    if not same(value, floor):
        if any(same(value, floor * unit) for unit in (1e-6, 1e-3, 1e3, 1e6)):
            raise Failed("unit", call=call, got=value, want=floor)
        if same(value, sum(floor_ms.values())):
            raise Failed("sum", call=call)
        raise Failed("expect.value", what=f"{call}[1]", got=value, want=floor)
    want, share = floor / case[3], float(expect.shape(roof_share, (), f"{call}[2]"))
    if not same(share, want):
        if same(share, 1 / want):
            raise Failed("inverse", call=call)
        if share == 1 < want:
            raise Failed("clipped", call=call, want=want)
        raise Failed("expect.value", what=f"{call}[2]", got=share, want=want)


def same(got: float, want: float) -> bool:
    return abs(got - want) <= CLOSE * want
