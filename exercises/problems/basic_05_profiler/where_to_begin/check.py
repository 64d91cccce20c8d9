"""Amdahl's law: find the layer that, at its roof, speeds up the whole model most."""

from deepseek_learn.course import expect
from deepseek_learn.course.arguments import shown
from deepseek_learn.course.problem import Failed

CLOSE = 1e-5  # float32 is accurate enough


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
        hidden += max(gains, key=gains.__getitem__) not in (slowest, farthest)
        cases += 1
        compare(answer, layers)
    time = round(float(rng.uniform(1, 5)), 3)
    compare(answer, {"alone": (time, time / 2)})
    compare(answer, {"done": (time, time), "open": (time, time / 4)})
    times = [time for time, _ in layers.values()]
    for over in (1.1, 1.0):  # floors above every time; floors reached exactly
        compare(answer, {f"layer{i}": (t, t * over) for i, t in enumerate(times)})
    compare(answer, {"suspect": (time, 2 * time), "done": (time, time)})


def draw(rng) -> dict[str, tuple[float, float]]:
    """Map each layer to its time and floor in ms; one layer is far below its floor."""
    count = int(rng.integers(4, 9))
    times = rng.uniform(0.2, 6, size=count).round(3)
    efficiency = rng.uniform(0.1, 1.0, size=count)
    efficiency[times.argmax()] = rng.uniform(0.75, 1.0)  # the slowest is efficient
    efficiency[times.argmin()] = rng.uniform(0.01, 0.1)  # the fastest is not
    floors, middle = times * efficiency, times.argsort()[count // 2]
    floors[middle] = times[middle] + rng.uniform(1.1, 2) * (times - floors).max()
    pairs = zip(times.tolist(), floors.round(3).tolist(), strict=True)
    return {f"layer{i}": pair for i, pair in enumerate(pairs)}


def gain(layers: dict) -> dict[str, float]:
    """Return the milliseconds that each layer can save."""
    return {name: max(time - floor, 0.0) for name, (time, floor) in layers.items()}


def compare(answer, layers: dict) -> None:
    call = "where_to_begin(layers)"
    name, speed_up = expect.parts(expect.call(answer, layers), 2, call)
    gains = gain(layers)
    want = max(gains, key=gains.__getitem__)
    total, (time, floor) = sum(t for t, _ in layers.values()), layers[want]
    if not gains[want]:
        if name is not None:
            raise Failed("none", got=shown(name))
    elif not isinstance(name, str) or name not in layers:
        raise Failed("name", got=shown(name))
    elif name != want:
        facts = {"got": name, "ms": gains[name], "want": want, "most": gains[want]}
        raise Failed("layer", **facts)
    value = float(expect.shape(speed_up, (), f"{call}[1]"))
    expected = total / (total - gains[want])
    guesses = {"whole": time / floor, "all": total / (total - sum(gains.values()))}
    if abs(value - expected) <= CLOSE * expected:
        return
    matches = [key for key, g in guesses.items() if abs(value - g) <= CLOSE * g]
    if len(matches) == 1 and gains[want]:  # otherwise the mistake is ambiguous
        raise Failed(matches[0], layer=want, got=value)
    raise Failed("expect.value", what=f"{call}[1]", got=value, want=expected)
