"""Answers to `name_the_bound`: the starter, right ones and wrong ones."""

# %% starter
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    ...

# %% solution
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], floors[bound] / measured_ms

# %% right: in float32, an array
import numpy as np


def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    work = np.array([flops, moved, calls], np.float32)
    floors = work / np.array([peak * 1e6, bandwidth * 1e6, 1e3 / call_us], np.float32)
    best = floors.argmax()
    names = np.array(["compute", "memory", "overhead"])
    return [names[best], floors[best], floors[best] / np.float32(measured_ms)]

# %% wrong: the lowest floor
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = min(floors, key=floors.get)
    return bound, floors[bound], floors[bound] / measured_ms

# %% wrong: the sum of the floors
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    total = sum(floors.values())
    return bound, total, total / measured_ms

# %% wrong: in seconds
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound] / 1e3, floors[bound] / measured_ms

# %% wrong: the share inverted
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], measured_ms / floors[bound]

# %% wrong: a single call
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], floors[bound] / measured_ms

# %% wrong: share capped at 1
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], min(floors[bound] / measured_ms, 1)

# %% wrong: share in percent
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], 100 * floors[bound] / measured_ms

# %% wrong: a GB of 2^30 bytes
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 2**30 * 1e3,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(floors, key=floors.get)
    return bound, floors[bound], floors[bound] / measured_ms

# %% wrong: call overhead ignored
def judge(flops, moved, calls, measured_ms, peak, bandwidth, call_us):
    floors = {
        "compute": flops / peak / 1e6,
        "memory": moved / bandwidth / 1e6,
        "overhead": calls * call_us / 1e3,
    }
    bound = max(list(floors)[:2], key=floors.get)
    return bound, floors[bound], floors[bound] / measured_ms
