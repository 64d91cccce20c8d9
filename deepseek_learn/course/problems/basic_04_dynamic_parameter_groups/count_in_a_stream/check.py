"""Activation frequency from batches of any size, exact: sums, not means of means."""

import gc
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TOLERANCE = 1e-9
WHAT = "counter.frequency()"
FIRST, MORE = 8, 64  # batches of a stream, to see what grows with them


def check(answer, rng) -> None:
    expect.function(answer, "ActivityCount")
    for trial in range(4):
        channels = 1 if trial == 3 else int(rng.integers(2, 9))
        batches = [draw(rng, channels) for _ in range(int(rng.integers(3, 7)))]
        batches[1] = batches[1][:1, :, :1, :1].clone()  # a single position
        if trial == 0:  # counts above 2048 and 32,767, where small types are not exact
            batches[2] = torch.ones(2, channels, 131, 170)
            batches[2][:, :, 0] = 0
        counter = expect.call(answer)
        for seen, y in enumerate(batches, 1):
            update(counter, y)
            if seen in (1, 3, len(batches)):  # asked on the way, counting goes on
                compare(frequency(counter), batches[:seen])
    keeps_nothing(answer, rng)


def draw(rng, channels: int) -> torch.Tensor:
    """Activations `[B, C, H, W]` of uneven batches; a third of them exactly zero."""
    pictures, height, width = (int(n) for n in rng.integers(1, 8, size=3))
    size = (pictures + 1, channels, height + 1, width + 1)
    own = rng.normal(size=(1, channels, 1, 1)) + rng.normal()  # a batch's own kind
    y = torch.from_numpy(rng.normal(size=size) + own).float()
    y[0, :, 0, 1] = 1e-30  # above zero, if only just
    y[0, :, 1, 0] = -1e-30
    return y.masked_fill(torch.from_numpy(rng.random(size) < 1 / 3), 0.0)


def update(counter, y: torch.Tensor) -> None:
    expect.call(lambda y: counter.update(y), y)


def frequency(counter):
    return expect.call(lambda: counter.frequency())


def compare(got, batches: list[torch.Tensor]) -> None:
    rows = [y.transpose(0, 1).flatten(1) for y in batches]  # [C, positions]
    every = torch.cat(rows, 1)
    want = (every > 0).double().mean(1)
    expect.tensor(got, WHAT, torch.float64)
    values = torch.from_numpy(expect.shape(got, want.shape, WHAT))
    if torch.allclose(values, want, rtol=0, atol=TOLERANCE):
        return
    if torch.allclose(values, want, rtol=0, atol=1e-6):  # not even one position
        raise Failed("rounded")
    means = torch.stack([(r > 0).double().mean(1) for r in rows]).mean(0)
    pictures = (every > 0).double().sum(1) / sum(len(y) for y in batches)
    guesses = {"means": means, "zero": (every >= 0).double().mean(1)}
    guesses |= {"pictures": pictures, "last": (rows[-1] > 0).double().mean(1)}
    near = {key: (values - guess).abs().max() < 1e-6 for key, guess in guesses.items()}
    if sum(near.values()) == 1:  # else it may be either
        raise Failed(max(near, key=near.get))
    expect.close(got, want, WHAT, TOLERANCE)


def keeps_nothing(answer, rng) -> None:
    """A long stream of equal batches leaves no more in the counter than a short one."""
    batches = torch.from_numpy(rng.normal(size=(FIRST + MORE, 2, 3, 3, 3))).float()
    counter, held = expect.call(answer), []
    learners = {getattr(each, "__module__", None) for each in (answer, type(counter))}
    for count, y in enumerate(batches.unbind(), 1):
        update(counter, y.clone())
        if count in (FIRST, FIRST + MORE):
            held.append(expect.call(lambda: sum(map(size, reached(counter, learners)))))
    if held[1] - held[0] > 4 * MORE:  # a list grows by 8 bytes an entry
        facts = {"first": FIRST, "all": FIRST + MORE, "more": held[1] - held[0]}
        raise Failed("kept", **facts)


def reached(root: Any, learners: set) -> Iterator[Any]:
    """All that an object refers to, also by its class and by globals of its methods.

    Libraries are left out: of classes and functions only the modules `learners` count.
    """
    seen, found = set(), [root]
    while found:
        each = found.pop()
        code = isinstance(each, (type, FunctionType))
        foreign = code and each.__module__ not in learners
        if id(each) in seen or foreign or isinstance(each, ModuleType):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, FunctionType):  # not all globals, only those it names
            found += [each.__globals__.get(name) for name in names(each.__code__)]
            found += [each.__closure__, each.__defaults__, each.__dict__]
        else:
            found += gc.get_referents(each)
        if isinstance(each, np.ndarray):  # what it is a view of
            found.append(each.base)


def names(code: CodeType) -> Iterator[str]:
    """The globals that a function uses, functions inside it included."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names(inner)


def size(value: Any) -> int:
    """Bytes, where their number can tell how much was kept; a small int is shared."""
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, int):
        return value.bit_length() // 8
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)


def counter(
    update: str, frequency: str, start: str = "self.active, self.positions = 0, 0"
):
    return f"""import torch


class ActivityCount:
    def __init__(self):
        {start}

    def update(self, y):
        {update}

    def frequency(self):
        {frequency}
"""
