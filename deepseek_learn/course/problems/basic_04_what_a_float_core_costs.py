# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The bits that a core in full precision leaves for all other weights."""

from .. import expect
from ..problem import Failed, Problem

FLOAT, SCALE, FEWEST = 32, 16, 2  # bits
CLOSE = 1e-5  # float32 is near enough


def check(answer, rng) -> None:
    expect.function(answer, "bits_left")
    left = {"less than none": 4, "too few": 4, "enough": 6, "enough, no core": 2}
    while max(left.values()) > 0:
        core = float(rng.choice([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]))
        target = round(float(rng.uniform(0.05, 0.9)), 3)
        group = int(rng.choice([16, 32, 48, 64, 128]))
        bits = reference(core, target, group)
        if abs(bits - FEWEST) < 0.01 or left[kind(bits, core)] == 0:
            continue  # a rounding error would decide
        left[kind(bits, core)] -= 1
        compare(expect.call(answer, core, target, group), bits, core, target, group)
    for core in (0, 0.5):  # exactly 2 bits, without any rounding
        group = int(rng.choice([16, 32, 64, 128]))
        target = core + (1 - core) * (FEWEST + SCALE / group) / FLOAT
        compare(expect.call(answer, core, target, group), FEWEST, core, target, group)
        for near in (target - 1e-4, target + 1e-4):
            bits = reference(core, near, group)
            compare(expect.call(answer, core, near, group), bits, core, near, group)


def kind(bits: float, core: float) -> str:
    if bits < FEWEST:
        return "less than none" if bits < 0 else "too few"
    return "enough" if core else "enough, no core"


def reference(core: float, target: float, group: int) -> float:
    """Bits a weight of the rest, by the bits of 1,000 weights."""
    budget = 1000 * target * FLOAT
    left, weights = budget - 1000 * core * FLOAT, 1000 * (1 - core)
    return left / weights - SCALE / group


def compare(got, bits: float, core: float, target: float, group: int) -> None:
    call = f"bits_left({core}, {target}, {group})"
    if got is None:
        if bits >= FEWEST:
            raise Failed("what_a_float_core_costs.possible", call=call, bits=bits)
        return
    value = float(expect.shape(got, (), call))
    if bits >= FEWEST and abs(value - bits) <= CLOSE * bits:
        return
    if bits < FEWEST:
        facts = {"call": call, "got": value, "bits": bits, "fewest": FEWEST}
        raise Failed("what_a_float_core_costs.impossible", **facts)
    if abs(value - bits - SCALE / group) < CLOSE:
        raise Failed("what_a_float_core_costs.scales", call=call, scale=SCALE / group)
    unshared = (bits + SCALE / group) * (1 - core) - SCALE / group
    if core and abs(value - unshared) < CLOSE:
        raise Failed("what_a_float_core_costs.share", call=call, rest=1 - core)
    raise Failed("expect.value", what=call, got=value, want=bits)


HEAD = "def bits_left(core, target, group_size):\n"

problem = Problem(
    id="what_a_float_core_costs",
    version=2,
    lesson="dynamic_parameter_groups",
    stage="basic",
    title={"en": "What a float core costs", "zh": "浮点核心组的代价"},
    prompt={
        "en": """A share `core` of the weights stays in float32, 32 bits each. The others are stored as codes of
$b$ bits; each group of `group_size` of them also shares one scale of 16 bits. All together may take the
share `target` of the original's bytes (all of it float32).

Write `bits_left(core, target, group_size)` for `0 <= core < 1`: return $b$, the bits a code may have, as a
number and not rounded, or `None` if $b$ is below 2, the fewest bits that our planes store.

Then ask it `bits_left(0.3, 0.35, 64)`, the guide's figures, and `bits_left(0, 0.35, 64)`.""",
        "zh": """占比为 `core` 的权重保持 float32，每个 32 位；其余权重存成 $b$ 位的编码，并且每 `group_size` 个编码共用一个 16 位的尺度。全部加起来，只许占原模型（全部为 float32）字节数的 `target` 倍。

请编写 `bits_left(core, target, group_size)`，其中 `0 <= core < 1`：返回每个编码可用的位数 $b$（不取整）；如果 $b$ 小于 2，即位平面所能存储的最少位数，就返回 `None`。

然后算一算 `bits_left(0.3, 0.35, 64)`（指南的数字）和 `bits_left(0, 0.35, 64)`。""",
    },
    starter=HEAD + "    ...\n",
    answer="bits_left",
    hints=(
        {
            "en": "Count the bits of an average weight: it may take 32 · target. What of "
            "that does the core take, and over which share is the rest spread?",
            "zh": "算一个平均权重的位数：它可用 32 · target 位。其中核心组用掉多少？剩下的又要分摊给占比多少的权重？",
        },
        {
            "en": "32 · target = core · 32 + (1 - core) · (b + 16 / group_size). Solve "
            "for b.",
            "zh": "32 · target = core · 32 + (1 - core) · (b + 16 / group_size)，从中解出 b。",
        },
    ),
    check=check,
    solution=HEAD
    + """    left = 32 * (target - core) / (1 - core)
    bits = left - 16 / group_size
    return bits if bits >= 2 else None
""",
    wrong={
        "the scales forgotten": HEAD
        + """    bits = 32 * (target - core) / (1 - core)
    return bits if bits >= 2 else None
""",
        "not spread over the rest": HEAD
        + """    bits = 32 * (target - core) - 16 / group_size
    return bits if bits >= 2 else None
""",
        "a number where there is none": HEAD
        + "    return 32 * (target - core) / (1 - core) - 16 / group_size\n",
        "the core is not paid for": HEAD
        + """    bits = 32 * target - 16 / group_size
    return bits if bits >= 2 else None
""",
        "scales for the core too": HEAD
        + """    bits = (32 * (target - core) - 16 / group_size) / (1 - core)
    return bits if bits >= 2 else None
""",
        "rounded down": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return int(bits) if bits >= 2 else None
""",
        "rounded to three decimals": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return round(bits, 3) if bits >= 2 else None
""",
        "None only below 0": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits >= 0 else None
""",
        "None only below 1.99": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits >= 1.99 else None
""",
        "None at exactly 2": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if bits > 2 else None
""",
        "None without a core": HEAD
        + """    bits = 32 * (target - core) / (1 - core) - 16 / group_size
    return bits if core and bits >= 2 else None
""",
    },
    right={
        "in float32": "import numpy as np\n\n\n"
        + HEAD
        + """    core, target, group_size = np.float32([core, target, group_size])
    bits = np.float32(32) * (target - core) / (1 - core) - 16 / group_size
    if bits < 2:
        return None
    return np.array(bits)
""",
        "of a million weights": HEAD
        + """    rest = 1e6 - 1e6 * core
    codes = 1e6 * target * 32 - 1e6 * core * 32 - rest / group_size * 16
    return None if codes / rest < 2 else codes / rest
""",
    },
    points=1,
    minutes=10,
)
