# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Amdahl's law: the layer whose way to its roof gives the whole model the most."""

from .. import expect
from ..problem import Failed, Problem


def check(answer, rng) -> None:
    expect.function(answer, "where_to_begin")
    cases = hidden = 0
    while cases < 8 or hidden < 3:
        layers = draw(rng)
        saved = {name: time - floor for name, (time, floor) in layers.items()}
        best, second = sorted(saved.values(), reverse=True)[:2]
        if best - second < 1e-3:
            continue
        slowest = max(layers, key=lambda name: layers[name][0])
        farthest = min(layers, key=lambda name: layers[name][1] / layers[name][0])
        hidden += max(saved, key=saved.get) not in (slowest, farthest)
        cases += 1
        compare(ask(answer, layers), layers, saved)
    done = {name: (time, time * 1.1) for name, (time, _) in layers.items()}
    name, speed_up = ask(answer, done)
    if name is not None:
        raise Failed("where_to_begin.none", got=str(name))
    expect.close(speed_up, 1.0, "where_to_begin(layers)[1]", 1e-6)


def ask(answer, layers: dict) -> tuple:
    got = expect.call(answer, dict(layers))
    return expect.parts(got, 2, "where_to_begin(layers)")


def draw(rng) -> dict[str, tuple[float, float]]:
    """Layer → (milliseconds, floor in milliseconds); one of them over its roof."""
    count = int(rng.integers(4, 9))
    times = rng.uniform(0.2, 6, size=count).round(3)
    reached = rng.uniform(0.1, 1.0, size=count)
    reached[times.argmax()] = rng.uniform(0.75, 1.0)  # the slowest is well made
    reached[times.argmin()] = rng.uniform(0.01, 0.1)  # the quickest is not
    reached[times.argsort()[count // 2]] = rng.uniform(1.1, 2.5)
    floors = (times * reached).round(3)
    pairs = zip(times.tolist(), floors.tolist(), strict=True)
    return {f"layer{i}": pair for i, pair in enumerate(pairs)}


def compare(got: tuple, layers: dict, saved: dict[str, float]) -> None:
    name, speed_up = got
    want = max(saved, key=saved.get)
    if not isinstance(name, str) or name not in layers:
        raise Failed("where_to_begin.name", got=str(name))
    if name != want:
        facts = {"got": name, "ms": saved[name], "want": want, "most": saved[want]}
        raise Failed("where_to_begin.layer", **facts)
    whole, (time, floor) = sum(t for t, _ in layers.values()), layers[want]
    value = float(expect.shape(speed_up, (), "where_to_begin(layers)[1]"))
    if abs(value - time / floor) < 1e-6:
        raise Failed("where_to_begin.whole", layer=want, got=value)
    all_roof = whole / sum(min(pair) for pair in layers.values())
    if abs(value - all_roof) < 1e-6:
        raise Failed("where_to_begin.all", layer=want, got=value)
    expect.close(
        value, whole / (whole - saved[want]), "where_to_begin(layers)[1]", 1e-6
    )


HEAD = "def where_to_begin(layers):\n"
SAVED = """    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
"""
NONE = """    if not saved[best]:
        return None, 1.0
"""
END = "    return best, whole / (whole - saved[best])\n"

problem = Problem(
    id="where_to_begin",
    version=1,
    lesson="profiler",
    stage="basic",
    title={"en": "Where to begin", "zh": "从哪里下手"},
    prompt={
        "en": """You have one week and may improve one layer. `layers` maps each layer's name to `(time, floor)`: the measured
milliseconds, and the highest of its floors, the least that it could take on this machine. The whole model takes the
sum of the times.

Write `where_to_begin(layers)`: return the name of the layer that would make the **whole model** fastest, were it to take
just its floor, and how many times as fast the whole model would then be.

Some floors are above the time: a suspect reading, nothing can be gained there. If nothing can be gained anywhere, return
`None` and `1.0`.""",
        "zh": """你有一周时间，只能改进一层。`layers` 把每层的名字映射到 `(time, floor)`：实测的毫秒数，以及它最高的下限，即在这台机器上最少需要的毫秒数。整个模型的时间是各层时间之和。

请编写 `where_to_begin(layers)`：如果某一层恰好只用它的下限时间，选哪一层能让**整个模型**最快？返回这一层的名字，以及那时整个模型快多少倍。

有的下限高于实测时间：读数可疑，那里没有可省的时间。如果哪一层都省不出时间，就返回 `None` 和 `1.0`。""",
    },
    starter=HEAD + "    ...\n",
    answer="where_to_begin",
    hints=(
        {
            "en": "Not the slowest layer, and not the one farthest below its roof. What does a layer give "
            "back, in milliseconds?",
            "zh": "既不是最慢的层，也不是离屋顶最远的层。一层能还给你多少毫秒？",
        },
        {
            "en": "`saved = max(time - floor, 0)`. The whole goes from `whole` to `whole - saved`, so it is "
            "`whole / (whole - saved)` times as fast.",
            "zh": "`saved = max(time - floor, 0)`。总时间从 `whole` 变成 `whole - saved`，所以快了 `whole / (whole - saved)` 倍。",
        },
    ),
    check=check,
    solution=HEAD + SAVED + NONE + END,
    wrong={
        "the slowest layer": HEAD
        + SAVED.replace("max(saved, key=saved.get)", "max(layers, key=layers.get)")
        + NONE
        + END,
        "the one farthest below its roof": HEAD
        + SAVED
        + "    best = min(layers, key=lambda n: layers[n][1] / layers[n][0])\n"
        + NONE
        + END,
        "the layer's own speed-up": HEAD
        + SAVED
        + NONE
        + "    return best, layers[best][0] / layers[best][1]\n",
        "all layers at their roofs": HEAD
        + SAVED
        + NONE
        + "    return best, whole / (whole - sum(saved.values()))\n",
        "a layer where nothing is to be had": HEAD + SAVED + END,
        "upside down": HEAD
        + SAVED
        + NONE
        + "    return best, (whole - saved[best]) / whole\n",
    },
    points=2,
    minutes=15,
)
