"""The power of a windowed signal in a band."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "band_power")
    for count, hz, low, high in cases(rng):
        x = rng.normal(size=count) + rng.uniform(1, 5)
        x += 2 * np.sin(2 * np.pi * (low + high) / 2 * np.arange(count) / hz)
        call = f"band_power({count} samples, {hz:g}, {low:g}, {high:g})"
        got = float(
            expect.shape(expect.call(answer, x.copy(), hz, low, high), (), call)
        )
        compare(got, x, hz, low, high, call)


def cases(rng) -> list[tuple[int, float, float, float]]:
    """Return (samples, hz, low, high); some bands end at a frequency of the transform."""
    step = 50 / 128
    return [
        (128, 50.0, 4 * step, 8 * step),
        (128, 50.0, 1.0, 3.3),
        (100, 20.0, 0.6, 2.0),
        (256, 100.0, 0.0, 5.0),
        (int(rng.integers(30, 45)) * 2 + 1, 25.0, 1.1, 6.2),
    ]


def power(
    x, hz, low, high, *, window=True, mean=True, square=True, closed=False
) -> float:
    y = x - x.mean() if mean else x
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(x)) if window else y))
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (
        (frequency <= high) if closed else (frequency < high)
    )
    return float((spectrum[inside] ** (2 if square else 1)).sum())


def compare(got: float, x, hz: float, low: float, high: float, call: str) -> None:
    want = power(x, hz, low, high)
    if abs(got - want) <= 1e-6 * want:
        return
    for key, options in {
        "window": {"window": False},
        "mean": {"mean": False},
        "square": {"square": False},
        "closed": {"closed": True},
    }.items():
        guess = power(x, hz, low, high, **options)
        if abs(got - guess) <= 1e-6 * abs(guess):
            raise Failed(key, call=call, got=got)
    raise Failed("value", call=call, want=want, got=got)
