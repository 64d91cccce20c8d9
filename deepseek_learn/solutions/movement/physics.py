r"""Units and axes of a sensor, from physics.

Gravity has a length of 1 g, and when the sensor turns with :math:`\omega`, gravity turns
the other way,

.. math:: \dot g = -\omega \times g.

So the slope of one against the other is 1 for rad/s and :math:`\pi / 180` for degrees. If
it is negative, the axes of the two sensors do not belong together. Walking alone may hide
the relation; then the unit is guessed from the size, and a warning says so.
"""

import math
from itertools import permutations, product

import numpy as np

from ..verdicts import RefusedError
from .hapt import HZ, WINDOW

Part = tuple[float, np.ndarray]  # start in seconds, samples `[6, T]`
UNITS = {"g": 1.0, "m/s²": 9.80665, "mg": 1000.0}  # the length of gravity
NEAR = 0.15  # how far a sensor's gravity may be from it
STILL, RELATED, DEGREES = 0.03, 0.2, (0.01, 0.03)  # g/s; correlation; slope
LONG, CLEAR = 120.0, 0.3  # seconds; correlation with other axes
FAST = 12.0  # rad/s, which nobody turns at the waist
# the direction of gravity while the training people moved, and what 34 of their 36
# recordings stay below, in degrees; a turn by 45 degrees about y or z exceeds it
UPRIGHT, TILT = np.array([0.980, -0.179, -0.084]), 20.0
MOVES, ENOUGH = 0.1, 5  # g, deviation of the acceleration's length; windows
LYING = 73.0  # degrees


class SignalError(RefusedError):
    """Raised if a recording cannot be used."""


def gravity_length(acceleration: np.ndarray, notes: list[str]) -> float:
    """Return the length of gravity in the unit of the acceleration `[3, T]`.

    Raises:
        SignalError: if the median length fits no unit in `UNITS`.
    """
    length = float(np.median(np.linalg.norm(acceleration, axis=0)))
    for unit, gravity in UNITS.items():
        if abs(length / gravity - 1) <= NEAR:
            if unit != "g":
                notes.append(f"The acceleration is in {unit}; it was converted to g.")
            return gravity
    raise SignalError(
        f"The length of the acceleration must be that of gravity most of the time (1 g or "
        f"9.81 m/s²); its median is {length:.3g}. Has gravity been removed?"
    )


def warn_of_orientation(parts: list[Part], notes: list[str]) -> None:
    """Add a note if the sensor is not worn as in training.

    Who moves is upright, so what counts is the direction of gravity while the length of
    the acceleration varies. In training it lay near `UPRIGHT`. If nobody moves for long
    enough, the direction during most of the time decides, and only a sensor upside down
    or across is noticed, since that person may have been lying.

    Args:
        parts: stretches at 50 Hz, acceleration in g.
    """
    windows = np.concatenate([_windows(samples[:3]) for _, samples in parts])
    gravity = windows.mean(2)  # [N, 3]
    moves = np.linalg.norm(windows, axis=1).std(1) > MOVES
    if moves.sum() >= ENOUGH:
        gravity, tilt = gravity[moves], TILT
    else:
        tilt = LYING
    x, y, z = direction = np.median(gravity, axis=0)
    length = max(float(np.linalg.norm(direction)), 1e-9)
    cosine = float(direction @ UPRIGHT) / length
    degrees = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    if degrees > tilt:
        notes.append(
            f"The sensor is turned by {degrees:.0f} degrees against how people wore it in "
            f"training: gravity lies along ({x:.1f}, {y:.1f}, {z:.1f}) g, and not along "
            f"(1, 0, 0). Unless somebody was lying all the time, it is worn another way "
            f"or its axes have other signs (iOS), and the answers are wrong."
        )


def _windows(acceleration: np.ndarray) -> np.ndarray:
    """Cut `[3, T]` into windows `[N, 3, 128]`; the rest at the end is left out."""
    count = acceleration.shape[1] // WINDOW
    return acceleration[:, : count * WINDOW].reshape(3, count, WINDOW).swapaxes(0, 1)


def smooth(row: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the moving average of a row with its ends repeated, `[T]`.

    Args:
        kernel: the weights, `[K]`, whose sum is 1.
    """
    if len(kernel) == 1:
        return row
    before = (len(kernel) - 1) // 2
    padded = np.pad(row, (before, len(kernel) - 1 - before), mode="edge")
    return np.convolve(padded, kernel, "valid")


def in_radians(parts: list[Part], notes: list[str]) -> tuple[Part, ...]:
    """Convert the angular velocity to rad/s, from how gravity turns.

    Args:
        parts: stretches at 50 Hz, acceleration in g and angular velocity in any unit.
        notes: what was converted or could not be checked is added here.

    Raises:
        SignalError: if gravity contradicts the gyroscope.
    """
    gravity, rotation = (
        np.concatenate(x, 1) for x in zip(*map(_slow, parts), strict=True)
    )
    rate = np.concatenate(
        [np.gradient(_slow(part)[0], axis=1) * HZ for part in parts], 1
    )
    expected = -np.cross(rotation, gravity, axis=0)
    slope = float((rate * expected).sum() / max((expected**2).sum(), 1e-12))
    related = _correlation(rate, expected)
    if related < RELATED and (related < -RELATED or _swapped(gravity, rotation, rate)):
        raise SignalError(
            f"Gravity must turn as the gyroscope says; their correlation is {related:.2f}. "
            f"Do the axes of both sensors belong together?"
        )
    if np.sqrt((rate**2).mean()) < STILL or related < RELATED:
        return _guessed(parts, notes)
    if DEGREES[0] < slope < DEGREES[1]:
        notes.append("The angular velocity is in degrees per second; it was converted.")
        return _from_degrees(parts)
    if not 0.5 < slope < 2:
        raise SignalError(
            f"The angular velocity must be in rad/s or degrees per second; gravity turns "
            f"{slope:.3g} times as fast as it says. Do both sensors have the same axes?"
        )
    return tuple(parts)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float((x * y).sum() / max(np.sqrt((x**2).sum() * (y**2).sum()), 1e-12))


def _swapped(gravity: np.ndarray, rotation: np.ndarray, rate: np.ndarray) -> bool:
    """Return whether, in a long time, gravity turns as it should with other axes."""
    if gravity.shape[1] < LONG * HZ:
        return False
    correlations = [
        _correlation(rate, -np.cross(rotation[list(order)] * axes, gravity, axis=0))
        for order in permutations(range(3))
        for axes in np.array([*product((1, -1), repeat=3)])[:, :, None]
    ]
    return max(correlations) > CLEAR


def _guessed(parts: list[Part], notes: list[str]) -> tuple[Part, ...]:
    """Guess the unit from its size, where gravity does not tell."""
    speed = np.abs(np.concatenate([signal[3:] for _, signal in parts], 1))
    if np.quantile(speed, 0.999) > FAST:
        notes.append(
            "The angular velocity is so large that it must be in degrees per second; it "
            "was converted. How gravity turns could not confirm it."
        )
        return _from_degrees(parts)
    notes.append(
        "Gravity turns too little to check the gyroscope, which is taken for rad/s: if it "
        "is in degrees, or has other axes, the answers are wrong."
    )
    return tuple(parts)


def _from_degrees(parts: list[Part]) -> tuple[Part, ...]:
    scale = np.array([1, 1, 1, *[np.pi / 180] * 3], np.float32)[:, None]
    return tuple((start, signal * scale) for start, signal in parts)


def _slow(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return gravity and the angular velocity, averaged over half a second, `[3, T]`."""
    kernel = np.ones(25) / 25
    rows = np.stack([smooth(row.astype(float), kernel) for row in part[1]])
    return rows[:3], rows[3:]
