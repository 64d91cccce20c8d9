"""Vessels and bronchi: trees of tubes that stay in the lung and end in thin tips.

All lengths are in millimeters and all points are (z, y, x) in voxels of 1 mm. `depth` says
how deep each voxel is in a lung, `[Z, Y, X]`, negative outside.
"""

from collections.abc import Iterator

import numpy as np

HILUM = 25.0  # mm from their root, trees may be outside of the lung
CLEAR = 1.5  # mm between a branch and the pleura
THIN = 0.4  # mm; the radius of the thinnest branches
TURNS = (0.18, 0.18, 0.4, 0.7)  # deviations of a branch's direction, try by try
Segment = tuple[np.ndarray, np.ndarray, float]  # a tube: from, to, radius


def branches(
    rng: np.random.Generator,
    start: np.ndarray,
    direction: np.ndarray,
    radius: float,
    generations: int,
    depth: np.ndarray,
    root: np.ndarray | None = None,
) -> Iterator[Segment]:
    """Yield the tubes of a tree that branches in two and ends in thin tips.

    It stays in the lung, except near its root, as at the hilum. A branch that would touch
    the pleura turns; where no turn helps, it ends.
    """
    root = start if root is None else root
    if radius < THIN:
        return
    length = (radius * rng.uniform(5, 9) + 4) / 2
    for _ in range(2):
        turned = None
        if generations > 0:
            turned = _turned(rng, root, start, direction, length, radius, depth)
        if turned is None:
            yield from _tip(rng, start, direction, radius, depth)
            return
        direction, end = turned, start + turned * length
        yield start, end, radius
        start, radius = end, 0.95 * radius
    sideways = rng.normal(0, 1, 3)
    sideways = unit(sideways - (sideways @ direction) * direction)
    spread = rng.uniform(0.35, 0.75)
    for sign, low, high in ((1, 0.72, 0.88), (-1, 0.6, 0.82)):
        fork = unit(direction + sign * spread * sideways)
        thinner = radius * rng.uniform(low, high)
        yield from branches(rng, start, fork, thinner, generations - 1, depth, root)


def _turned(
    rng: np.random.Generator,
    root: np.ndarray,
    start: np.ndarray,
    direction: np.ndarray,
    length: float,
    radius: float,
    depth: np.ndarray,
) -> np.ndarray | None:
    """Return a branch's direction, None if there is no room for it."""
    for bend in TURNS:
        turned = unit(direction + rng.normal(0, bend, 3))
        for part in (0.5, 1):
            point = start + part * length * turned
            near = np.linalg.norm(point - root) < HILUM
            if deep(point, depth) <= (-12 if near else CLEAR + radius):
                break
        else:
            return turned
    return None


def _tip(
    rng: np.random.Generator,
    start: np.ndarray,
    direction: np.ndarray,
    radius: float,
    depth: np.ndarray,
) -> Iterator[Segment]:
    """Yield the tubes of a branch that ends, each thinner than the one before.

    Of eight directions, it takes the one that stays farthest from the pleura. A branch
    outside of the lung ends where it is, unseen.
    """
    if deep(start, depth) < radius:
        return
    reach = 3.5 * radius  # the tubes' lengths add up to it
    turns = [unit(direction + rng.normal(0, 0.7, 3)) for _ in range(8)]
    direction = max(turns, key=lambda turn: deep(start + reach * turn, depth))
    while radius > THIN:
        radius *= 0.7
        end = start + 1.5 * radius * direction
        yield start, end, radius
        start = end


def deep(point: np.ndarray, depth: np.ndarray) -> float:
    """Return how deep a point is in a lung in mm, far outside for one beyond the scan."""
    index = np.round(point).astype(int)
    inside = (index >= 0).all() and (index < depth.shape).all()
    return float(depth[tuple(index)]) if inside else -np.inf


def unit(vector: np.ndarray) -> np.ndarray:
    """Return the vector of length 1 in the same direction."""
    return vector / np.linalg.norm(vector)


def tube(
    hu: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    radius: float,
    value: float,
    replace: bool = False,
) -> None:
    """Paint a tube with round ends and a soft edge of 1 mm.

    Args:
        replace: whether to paint over brighter voxels, too.
    """
    low = np.maximum(np.floor(np.minimum(a, b) - radius - 1), 0).astype(int)
    high = np.ceil(np.maximum(a, b) + radius + 2).astype(int)
    high = np.minimum(high, hu.shape)
    if (high <= low).any():
        return
    axes = [
        np.arange(first, last, dtype=np.float32) - np.float32(at)
        for first, last, at in zip(low, high, a, strict=True)
    ]
    z, y, x = np.ix_(*axes)
    v = (b - a).astype(np.float32)
    t = np.clip((z * v[0] + y * v[1] + x * v[2]) / max(float(v @ v), 1e-6), 0, 1)
    distance = np.sqrt((z - t * v[0]) ** 2 + (y - t * v[1]) ** 2 + (x - t * v[2]) ** 2)
    weight = np.clip(radius - distance + 0.5, 0, 1)
    window = hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    painted = window + weight * (value - window)
    window[:] = painted if replace else np.maximum(window, painted)
