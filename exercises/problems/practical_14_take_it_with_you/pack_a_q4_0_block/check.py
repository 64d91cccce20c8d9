"""Pack 32 weights into a block of GGUF's type Q4_0."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "block(weights)"


def check(answer, rng) -> None:
    expect.function(answer, "block")
    for trial in range(8):
        weights = rng.normal(size=32) * rng.choice([0.02, 1.0, 30.0])
        weights[rng.integers(32)] = (-1) ** trial * 1.2 * np.abs(weights).max()
        if trial == 2:
            weights[:] = 0.0  # an expert that never learned
        weights = weights.astype("float32")
        got = expect.call(answer, torch.from_numpy(weights))
        compare(got, weights.astype(float))


def compare(got, weights: np.ndarray) -> None:
    if not isinstance(got, bytes | bytearray):
        raise Failed("bytes", got=type(got).__name__)
    if len(got) != 18:
        raise Failed("length", got=len(got))
    extreme = weights[np.abs(weights).argmax()]
    want = np.float16(extreme / -8)
    d = np.frombuffer(got[:2], "<f2")[0]
    if np.isclose(float(d), -float(want), rtol=2e-3) and want:
        raise Failed("sign", got=float(d), want=float(want))
    if not abs(float(d) - float(want)) <= 2e-3 * abs(float(want)):
        raise Failed("scale", got=float(d), want=float(want))
    if not want:
        return
    packed = np.frombuffer(got[2:], "u1").astype(int)
    low, high = packed & 15, packed >> 4
    if away(np.concatenate([low, high]), weights, float(d)) <= 0.51:
        return
    if away(np.stack([low, high], 1).ravel(), weights, float(d)) <= 0.51:
        raise Failed("neighbors")
    if away(np.concatenate([high, low]), weights, float(d)) <= 0.51:
        raise Failed("high_first")
    codes = np.concatenate([low, high])
    worst = int(distances(codes, weights, float(d)).argmax())
    raise Failed("code", place=worst, got=int(codes[worst]), weight=weights[worst])


def distances(codes: np.ndarray, weights: np.ndarray, d: float) -> np.ndarray:
    """How far each code is from the best one, in steps."""
    best = np.clip(weights / d, -8, 7)
    # float16 moves the scale a little, so that the edge of a step may move as well
    return np.abs(codes - 8 - best) - 8e-3


def away(codes: np.ndarray, weights: np.ndarray, d: float) -> float:
    return float(distances(codes, weights, d).max())
