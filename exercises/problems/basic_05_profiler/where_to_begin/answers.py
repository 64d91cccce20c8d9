"""Answers to `where_to_begin`: the starter, right ones and wrong ones."""

# %% starter
def where_to_begin(layers):
    ...

# %% solution
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% right: in float32, an array
import numpy as np


def where_to_begin(layers):
    times, floors = np.array(list(layers.values()), np.float32).T
    after = times.sum() - (times - np.minimum(times, floors))
    best = after.argmin()
    name = np.array(list(layers))[best] if times[best] > floors[best] else None
    return [name, times.sum() / after[best]]

# %% right: by trying each layer
def where_to_begin(layers):
    def whole(improved=None):
        return sum(min(t, f) if n == improved else t for n, (t, f) in layers.items())

    best = min([None, *layers], key=whole)
    return best, whole() / whole(best)

# %% wrong: the slowest layer
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(layers, key=layers.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: the one farthest below its roof
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    best = min(layers, key=lambda n: layers[n][1] / layers[n][0])
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: the layer's own speed-up
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, layers[best][0] / layers[best][1]

# %% wrong: all layers at their roofs
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - sum(saved.values()))

# %% wrong: a layer where nothing can be gained
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    return best, whole / (whole - saved[best])

# %% wrong: a suspect reading counted as a gain
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: abs(time - floor) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: no gain only where floors are above the times
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: time - floor for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if saved[best] < 0:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: no gain only where floors are just reached
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: time - floor for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: nothing to gain where one floor is above the time
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if any(f > t for t, f in layers.values()):
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: suspect layers left out of the total
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values() if time >= _)
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: 0 for no speed-up
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 0.0
    return best, whole / (whole - saved[best])

# %% wrong: caps the floors in place
def where_to_begin(layers):
    for name, (time, floor) in layers.items():
        layers[name] = time, min(time, floor)
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, whole / (whole - saved[best])

# %% wrong: inverse speed-up
def where_to_begin(layers):
    whole = sum(time for time, _ in layers.values())
    saved = {name: max(time - floor, 0) for name, (time, floor) in layers.items()}
    best = max(saved, key=saved.get)
    if not saved[best]:
        return None, 1.0
    return best, (whole - saved[best]) / whole
