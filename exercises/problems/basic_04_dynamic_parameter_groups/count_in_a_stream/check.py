"""Count activation frequency over batches of any size, exactly: add up the counts."""

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
FIRST, MORE = 8, 64  # batches per stream, to detect state that grows


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
            if seen in (1, 3, len(batches)):  # query midway; counting continues
                compare(frequency(counter), batches[:seen])
    check_memory(answer, rng)


def draw(rng, channels: int) -> torch.Tensor:
    """Draw activations `[B, C, H, W]` of uneven batches; a third of them are zero."""
    images, height, width = (int(n) for n in rng.integers(1, 8, size=3))
    size = (images + 1, channels, height + 1, width + 1)
    offset = rng.normal(size=(1, channels, 1, 1)) + rng.normal()  # differs per batch
    y = torch.from_numpy(rng.normal(size=size) + offset).float()
    y[0, :, 0, 1] = 1e-30  # barely above zero, but active
    y[0, :, 1, 0] = -1e-30
    return y.masked_fill(torch.from_numpy(rng.random(size) < 1 / 3), 0.0)


def update(counter, y: torch.Tensor) -> None:
    expect.call(lambda y: counter.update(y), y)


def frequency(counter):
    return expect.call(lambda: counter.frequency())


def compare(got, batches: list[torch.Tensor]) -> None:
    rows = [y.transpose(0, 1).flatten(1) for y in batches]  # [C, positions]
    activations = torch.cat(rows, 1)
    want = (activations > 0).double().mean(1)
    expect.tensor(got, WHAT, torch.float64)
    values = torch.from_numpy(expect.shape(got, want.shape, WHAT))
    if torch.allclose(values, want, rtol=0, atol=TOLERANCE):
        return
    if torch.allclose(values, want, rtol=0, atol=1e-6):  # off by less than one position
        raise Failed("rounded")
    means = torch.stack([(r > 0).double().mean(1) for r in rows]).mean(0)
    per_image = (activations > 0).double().sum(1) / sum(len(y) for y in batches)
    guesses = {"means": means, "zero": (activations >= 0).double().mean(1)}
    guesses |= {"pictures": per_image, "last": (rows[-1] > 0).double().mean(1)}
    matches = {
        key: (values - guess).abs().max() < 1e-6 for key, guess in guesses.items()
    }
    if sum(matches.values()) == 1:  # otherwise the mistake is ambiguous
        raise Failed(max(matches, key=matches.__getitem__))
    expect.close(got, want, WHAT, TOLERANCE)


def check_memory(answer, rng) -> None:
    """Require no more memory for a long stream of batches than for a short one."""
    batches = torch.from_numpy(rng.normal(size=(FIRST + MORE, 2, 3, 3, 3))).float()
    counter, totals = expect.call(answer), []
    learners = {getattr(each, "__module__", None) for each in (answer, type(counter))}
    for count, y in enumerate(batches.unbind(), 1):
        update(counter, y.clone())
        if count in (FIRST, FIRST + MORE):
            totals.append(
                expect.call(lambda: sum(map(size, reachable(counter, learners))))
            )
    if totals[1] - totals[0] > 4 * MORE:  # a list grows by 8 bytes per entry
        facts = {"first": FIRST, "all": FIRST + MORE, "more": totals[1] - totals[0]}
        raise Failed("kept", **facts)


def reachable(root: Any, learners: set) -> Iterator[Any]:
    """Yield all objects reachable from `root`, also via its class and methods' globals.

    Libraries are excluded: classes and functions count only from `learners` modules.
    """
    seen, stack = set(), [root]
    while stack:
        each = stack.pop()
        code = isinstance(each, (type, FunctionType))
        foreign = code and each.__module__ not in learners
        if id(each) in seen or foreign or isinstance(each, ModuleType):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, FunctionType):  # only the globals it names
            stack += [each.__globals__.get(name) for name in names(each.__code__)]
            stack += [each.__closure__, each.__defaults__, each.__dict__]
        else:
            stack += gc.get_referents(each)
        if isinstance(each, np.ndarray):  # the array that it is a view of
            stack.append(each.base)


def names(code: CodeType) -> Iterator[str]:
    """Yield the globals that a function uses, nested functions included."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names(inner)


def size(value: Any) -> int:
    """Return the bytes that a value occupies; a small int is shared and takes none."""
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, int):
        return value.bit_length() // 8
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)
