"""The unit of an angular velocity, from the way gravity turns."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

UNITS = ("rad/s", "deg/s", "unrelated")


def check(answer, rng) -> None:
    expect.function(answer, "unit")
    cases = [(want, speed) for want in UNITS for speed in (0.03, 3.0)] * 2
    for number, (want, speed) in enumerate(cases):
        hz = float(rng.choice([25, 50, 100]))
        if number >= len(UNITS) * 2 and want != "unrelated":
            hz = 2000.0  # a constant in its place gives the slope of the other unit
        acceleration, rotation = recording(
            rng, want, speed, hz, mirrored=number % 2 == 0
        )
        call = f"unit(acceleration, rotation, {hz:g})  # up to {np.abs(rotation).max():.3g}"
        got = expect.call(answer, acceleration.copy(), rotation.copy(), hz)
        if not isinstance(got, str) or got not in UNITS:
            raise Failed("text", call=call, got=repr(got)[:60])
        if got != want:
            slope, related = compared(acceleration, rotation, hz)
            facts = {"want": want, "got": got, "slope": slope, "related": related}
            raise Failed("wrong", call=call, **facts)


def recording(
    rng, want: str, speed: float, hz: float, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a slow turn, in which both sensors belong together or do not."""
    while True:
        count = int(rng.integers(600, 900))
        time = np.arange(count) / hz
        phase, pace = rng.uniform(0, 6, 3), rng.uniform(0.3, 1.5, 3)
        rotation = speed * np.sin(pace[:, None] * time + phase[:, None])
        gravity = [(v := rng.normal(size=3)) / np.linalg.norm(v)]
        for omega in rotation.T[:-1]:
            gravity.append(_turned(gravity[-1], -omega / hz))
        acceleration = np.stack(gravity, 1)
        if want == "unrelated":
            rotation = -rotation if mirrored else rotation[[1, 2, 0]]
            scale = rng.choice([1.0, 180 / np.pi])
        else:
            scale = 180 / np.pi if want == "deg/s" else 1.0
        noise = 0.003 * speed / hz * rng.normal(size=acceleration.shape)
        acceleration, rotation = acceleration + noise, scale * rotation
        _, related = compared(acceleration, rotation, hz)
        if related < 0.45 if want == "unrelated" else related > 0.85:
            return acceleration, rotation


def _turned(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate by a small vector of angles (Rodrigues)."""
    size = float(np.linalg.norm(angle))
    if size < 1e-12:
        return vector
    axis = angle / size
    along = axis * (axis @ vector)
    return (
        along + np.cos(size) * (vector - along) + np.sin(size) * np.cross(axis, vector)
    )


def compared(acceleration, rotation, hz: float) -> tuple[float, float]:
    """Return the slope and the correlation of both sides."""
    turned = np.gradient(acceleration, axis=1) * hz
    said = -np.cross(rotation, acceleration, axis=0)
    product = float((turned * said).sum())
    size = float(np.sqrt((turned**2).sum() * (said**2).sum()))
    return product / float((said**2).sum()), product / size
