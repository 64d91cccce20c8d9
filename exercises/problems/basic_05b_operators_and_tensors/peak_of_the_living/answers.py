"""Answers to `peak_of_the_living`: the starter, right ones and wrong ones."""

# %% starter
def peak(tensors):
    ...

# %% solution
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% right: gains and losses
import numpy as np


def peak(tensors):
    change = np.zeros(len(tensors) + 1)
    for _, made, last, size in tensors:
        change[made] += size
        change[last + 1] -= size
    level = change.cumsum()
    now = level.argmax()
    return [level[now], (name for name, made, last, _ in tensors if made <= now <= last)]

# %% right: with a heap
import heapq


def peak(tensors):
    alive, most, names, total = [], 0, set(), 0
    for name, made, last, size in sorted(tensors, key=lambda t: t[1]):
        while alive and alive[0][0] < made:
            total -= heapq.heappop(alive)[1]
        heapq.heappush(alive, (last, size, name))
        total += size
        if total > most:
            most, names = total, {entry[2] for entry in alive}
    return most, names

# %% wrong: the sum of all
def peak(tensors):
    return sum(t[3] for t in tensors), [t[0] for t in tensors]

# %% wrong: freed before its last reader ran
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] == now or t[1] <= now < t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: the largest tensor
def peak(tensors):
    largest = max(tensors, key=lambda t: t[3])
    return largest[3], [largest[0]]

# %% wrong: never freed
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: all names
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, [t[0] for t in tensors]

# %% wrong: the last moment instead of the peak
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: the output left out
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] < now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: only the names of tensors being read
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive if t[1] < now]
    return most, names

# %% wrong: the first operator left out
def peak(tensors):
    most, names = 0, []
    for now in range(1, max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: the last operator left out
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors)):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: a duplicate name
def peak(tensors):
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, [*names, names[0]]

# %% wrong: assumes the list is in order
def peak(tensors):
    most, names, alive = 0, [], []
    for now, tensor in enumerate(tensors):
        alive = [t for t in alive if t[2] >= now] + [tensor]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names

# %% wrong: sorts the list in place
def peak(tensors):
    tensors.sort(key=lambda t: t[1])
    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names
