# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Amdahl's law: the layer whose way to its roof gives the whole model the most."""

from .. import expect
from ..arguments import shown
from ..problem import Failed, Problem

CLOSE = 1e-5  # float32 is near enough


def check(answer, rng) -> None:
    expect.function(answer, "where_to_begin")
    cases = hidden = 0
    while cases < 8 or hidden < 3:
        layers = draw(rng)
        gains = gain(layers)
        best, second = sorted(gains.values(), reverse=True)[:2]
        if best - second < 1e-3:
            continue
        slowest = max(layers, key=lambda name: layers[name][0])
        farthest = min(layers, key=lambda name: layers[name][1] / layers[name][0])
        hidden += max(gains, key=gains.get) not in (slowest, farthest)
        cases += 1
        compare(answer, layers)
    time = round(float(rng.uniform(1, 5)), 3)
    compare(answer, {"alone": (time, time / 2)})
    compare(answer, {"done": (time, time), "open": (time, time / 4)})
    times = [time for time, _ in layers.values()]
    for over in (1.1, 1.0):  # above the time everywhere; just reached everywhere
        compare(answer, {f"layer{i}": (t, t * over) for i, t in enumerate(times)})
    compare(answer, {"suspect": (time, 2 * time), "done": (time, time)})


def draw(rng) -> dict[str, tuple[float, float]]:
    """Layer → (milliseconds, floor in milliseconds); one of them far over its roof."""
    count = int(rng.integers(4, 9))
    times = rng.uniform(0.2, 6, size=count).round(3)
    reached = rng.uniform(0.1, 1.0, size=count)
    reached[times.argmax()] = rng.uniform(0.75, 1.0)  # the slowest is well made
    reached[times.argmin()] = rng.uniform(0.01, 0.1)  # the quickest is not
    floors, middle = times * reached, times.argsort()[count // 2]
    floors[middle] = times[middle] + rng.uniform(1.1, 2) * (times - floors).max()
    pairs = zip(times.tolist(), floors.round(3).tolist(), strict=True)
    return {f"layer{i}": pair for i, pair in enumerate(pairs)}


def gain(layers: dict) -> dict[str, float]:
    """Milliseconds that each layer can give back."""
    return {name: max(time - floor, 0.0) for name, (time, floor) in layers.items()}


def compare(answer, layers: dict) -> None:
    call = "where_to_begin(layers)"
    name, speed_up = expect.parts(expect.call(answer, layers), 2, call)
    gains = gain(layers)
    want = max(gains, key=gains.get)
    whole, (time, floor) = sum(t for t, _ in layers.values()), layers[want]
    if not gains[want]:
        if name is not None:
            raise Failed("where_to_begin.none", got=shown(name))
    elif not isinstance(name, str) or name not in layers:
        raise Failed("where_to_begin.name", got=shown(name))
    elif name != want:
        facts = {"got": name, "ms": gains[name], "want": want, "most": gains[want]}
        raise Failed("where_to_begin.layer", **facts)
    value = float(expect.shape(speed_up, (), f"{call}[1]"))
    right = whole / (whole - gains[want])
    guesses = {"whole": time / floor, "all": whole / (whole - sum(gains.values()))}
    if abs(value - right) <= CLOSE * right:
        return
    near = [key for key, g in guesses.items() if abs(value - g) <= CLOSE * g]
    if len(near) == 1 and gains[want]:  # else it may be either
        raise Failed(f"where_to_begin.{near[0]}", layer=want, got=value)
    raise Failed("expect.value", what=f"{call}[1]", got=value, want=right)


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
    version=2,
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

请编写 `where_to_begin(layers)`：如果某一层恰好只用它的下限时间，选哪一层能让**整个模型**最快？返回这一层的名字，以及那时整个模型的速度是原来的多少倍。

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
        "a suspect reading taken for a gain": HEAD
        + SAVED.replace("max(time - floor, 0)", "abs(time - floor)")
        + NONE
        + END,
        "no gain only where floors are above the times": HEAD
        + SAVED.replace("max(time - floor, 0)", "time - floor")
        + NONE.replace("not saved[best]", "saved[best] < 0")
        + END,
        "no gain only where floors are just reached": HEAD
        + SAVED.replace("max(time - floor, 0)", "time - floor")
        + NONE
        + END,
        "nothing to gain where one floor is above the time": HEAD
        + SAVED
        + NONE.replace("not saved[best]", "any(f > t for t, f in layers.values())")
        + END,
        "suspect layers are not part of the whole": HEAD
        + SAVED.replace("layers.values())\n", "layers.values() if time >= _)\n")
        + NONE
        + END,
        "0 for no speed-up": HEAD + SAVED + NONE.replace("1.0", "0.0") + END,
        "caps the floors in place": HEAD
        + """    for name, (time, floor) in layers.items():
        layers[name] = time, min(time, floor)
"""
        + SAVED
        + NONE
        + END,
        "upside down": HEAD
        + SAVED
        + NONE
        + "    return best, (whole - saved[best]) / whole\n",
    },
    right={
        "in float32, an array": "import numpy as np\n\n\n"
        + HEAD
        + """    times, floors = np.array(list(layers.values()), np.float32).T
    after = times.sum() - (times - np.minimum(times, floors))
    best = after.argmin()
    name = np.array(list(layers))[best] if times[best] > floors[best] else None
    return [name, times.sum() / after[best]]
""",
        "by trying each": HEAD
        + """    def whole(improved=None):
        return sum(min(t, f) if n == improved else t for n, (t, f) in layers.items())

    best = min([None, *layers], key=whole)
    return best, whole() / whole(best)
""",
    },
    points=2,
    minutes=15,
)
