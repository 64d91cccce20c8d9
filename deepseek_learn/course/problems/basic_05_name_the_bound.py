# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Three floors under a layer's time, the highest of them, and how near it is."""

from .. import expect
from ..problem import Failed, Problem

BOUNDS = ("compute", "memory", "overhead")


TIMES = (0.5, 0.9, 1.0, 1.5, 4.0)  # what is measured, in floors; below 1 is suspect
CLOSE = 1e-5  # float32 is near enough


def check(answer, rng) -> None:
    expect.function(answer, "judge")
    for bound in BOUNDS:
        for times in TIMES:
            given, least = draw(rng, bound, times)
            got = expect.parts(expect.call(answer, *given), 3, "judge(...)")
            compare(got, given, least, bound)


def draw(rng, bound: str, times: float) -> tuple[tuple, dict[str, float]]:
    """A layer on a machine, and its floors; `bound` is the highest by far."""
    while True:
        flops, moved = (int(10 ** rng.uniform(3, 10)) for _ in range(2))
        if times == 1:  # a layer that only moves, or one that only counts
            flops, moved = (flops, 0) if bound == "compute" else (0, moved)
        calls = int(rng.integers(1, 60))
        peak, bandwidth, call_us = (
            round(float(rng.uniform(*r)), 1) for r in ((40, 900), (5, 90), (1, 9))
        )
        least = floors(flops, moved, calls, peak, bandwidth, call_us)
        if all(1.2 * least[o] < least[bound] for o in BOUNDS if o != bound):
            measured = least[bound] * times
            return (flops, moved, calls, measured, peak, bandwidth, call_us), least


def floors(flops, moved, calls, peak, bandwidth, call_us) -> dict[str, float]:
    """Milliseconds, from seconds."""
    seconds = flops / (peak * 1e9), moved / (bandwidth * 1e9), calls * call_us * 1e-6
    return dict(zip(BOUNDS, (1e3 * s for s in seconds), strict=True))


def compare(got, given: tuple, least: dict[str, float], bound: str) -> None:
    call = "judge(" + ", ".join(f"{number:.6g}" for number in given) + ")"
    name, highest, of_roof = got
    facts = {"call": call} | {key: f"{value:.4g}" for key, value in least.items()}
    if not isinstance(name, str) or name not in BOUNDS:
        raise Failed("name_the_bound.name", call=call, got=str(name))
    if name != bound:
        raise Failed("name_the_bound.bound", got=name, want=bound, **facts)
    value = float(expect.shape(highest, (), f"{call}[1]"))
    floor = least[bound]
    if not same(value, floor):
        if any(same(value, floor * unit) for unit in (1e-6, 1e-3, 1e3, 1e6)):
            raise Failed("name_the_bound.unit", call=call, got=value, want=floor)
        if same(value, sum(least.values())):
            raise Failed("name_the_bound.sum", call=call)
        raise Failed("expect.value", what=f"{call}[1]", got=value, want=floor)
    want, share = floor / given[3], float(expect.shape(of_roof, (), f"{call}[2]"))
    if not same(share, want):
        if same(share, 1 / want):
            raise Failed("name_the_bound.inverse", call=call)
        if share == 1 < want:
            raise Failed("name_the_bound.clipped", call=call, want=want)
        raise Failed("expect.value", what=f"{call}[2]", got=share, want=want)


def same(got: float, want: float) -> bool:
    return abs(got - want) <= CLOSE * want


HEAD = "def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):\n"
FLOORS = """    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
"""
HIGHEST = "    bound = max(floors, key=floors.get)\n"

problem = Problem(
    id="name_the_bound",
    version=2,
    lesson="profiler",
    stage="basic",
    title={"en": "Name the bound", "zh": "说出受什么限制"},
    prompt={
        "en": """Be the profiler. Of a layer you know its FLOPs, the bytes it moves, how many operators it calls and how long it
took; of the machine its roof.

Write `judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us)`: `moved` is in bytes, `peak` in GFLOP/s
(10⁹), `bandwidth` in GB/s (10⁹), `call_us` in microseconds a call. Return three values:

1. what bounds the layer: `"compute"`, `"memory"` or `"overhead"`;
2. the highest floor, in **milliseconds**;
3. the share of the roof that is reached: that floor over the measured time. It may be above 1 (a
   suspect reading).""",
        "zh": """这次由你来当性能分析器。关于一层，你知道它的 FLOPs、搬运的字节数、调用了多少个算子，以及用了多长时间；关于机器，你知道它的屋顶。

请编写 `judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us)`：`moved` 的单位是字节，`peak` 是 GFLOP/s（10⁹），`bandwidth` 是 GB/s（10⁹），`call_us` 是每次调用的微秒数。返回三个值：

1. 这一层受什么限制：`"compute"`（计算）、`"memory"`（内存）或 `"overhead"`（调用开销）；
2. 最高的那个下限，单位为**毫秒**；
3. 达到屋顶的比例：该下限除以实测时间。可能大于 1（此时读数可疑）。""",
    },
    starter=HEAD + "    ...\n",
    answer="judge",
    hints=(
        {
            "en": "Three floors, all in one unit. 1 GFLOP/s is 10⁶ FLOPs in a millisecond; 1 GB/s is "
            "10⁶ bytes in a millisecond.",
            "zh": "三个下限要用同一个单位。1 GFLOP/s 就是每毫秒 10⁶ 次运算；1 GB/s 就是每毫秒 10⁶ 字节。",
        },
        {
            "en": "`flops / peak / 1e6`, `moved / bandwidth / 1e6`, `calls * call_us / 1e3`. The bound is "
            "the highest: `max(floors, key=floors.get)` of a dictionary.",
            "zh": "`flops / peak / 1e6`、`moved / bandwidth / 1e6`、`calls * call_us / 1e3`。限制因素是其中最高的一个：对字典用 `max(floors, key=floors.get)`。",
        },
    ),
    check=check,
    solution=HEAD
    + FLOORS
    + HIGHEST
    + "    return bound, floors[bound], floors[bound] / measured_ms\n",
    wrong={
        "the lowest floor": HEAD
        + FLOORS
        + HIGHEST.replace("max", "min")
        + "    return bound, floors[bound], floors[bound] / measured_ms\n",
        "the sum of the floors": HEAD
        + FLOORS
        + HIGHEST
        + "    total = sum(floors.values())\n"
        + "    return bound, total, total / measured_ms\n",
        "seconds": HEAD
        + FLOORS
        + HIGHEST
        + "    return bound, floors[bound] / 1e3, floors[bound] / measured_ms\n",
        "the share upside down": HEAD
        + FLOORS
        + HIGHEST
        + "    return bound, floors[bound], measured_ms / floors[bound]\n",
        "one call only": HEAD
        + FLOORS.replace("calls * call_us", "call_us")
        + HIGHEST
        + "    return bound, floors[bound], floors[bound] / measured_ms\n",
        "never above the roof": HEAD
        + FLOORS
        + HIGHEST
        + "    return bound, floors[bound], min(floors[bound] / measured_ms, 1)\n",
        "per cent": HEAD
        + FLOORS
        + HIGHEST
        + "    return bound, floors[bound], 100 * floors[bound] / measured_ms\n",
        "a GB of 2^30 bytes": HEAD
        + FLOORS.replace("bandwidth / 1e6", "bandwidth / 2**30 * 1e3")
        + HIGHEST
        + "    return bound, floors[bound], floors[bound] / measured_ms\n",
        "no calls counted": HEAD
        + FLOORS
        + HIGHEST.replace("floors, key", "list(floors)[:2], key")
        + "    return bound, floors[bound], floors[bound] / measured_ms\n",
    },
    right={
        "in float32, an array": "import numpy as np\n\n\n"
        + HEAD
        + """    work = np.array([flops, moved, calls], np.float32)
    floors = work / np.array([peak * 1e6, bandwidth * 1e6, 1e3 / call_us], np.float32)
    best = floors.argmax()
    names = np.array(["compute", "memory", "overhead"])
    return [names[best], floors[best], floors[best] / np.float32(measured_ms)]
""",
    },
    points=1,
    minutes=10,
)
