"""Find the tilt of a gantry from positions and orientation."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TOLERANCE = 0.01  # degrees
KINDS = {
    "up": "upward",
    "down": "downward",
    "rows": "sideways along the rows",
    "columns": "sideways along the columns",
    "both": "sideways along both",
    "none": "no tilt",
}


def check(answer, rng) -> None:
    expect.function(answer, "tilt")
    for kind, words in KINDS.items():
        positions, orientation, want = draw(rng, kind)
        call = f"tilt({len(positions)} positions, orientation)  # {words}"
        got = expect.shape(expect.call(answer, positions, orientation), (), call)
        judge(float(got), want, call)


def draw(rng, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw a series in any position in which the slices lean by a known angle."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    row, column = q[:, 0], q[:, 1]
    normal = np.cross(row, column)
    degrees = 0.0 if kind == "none" else float(rng.uniform(8, 30))
    sideways = {"rows": row, "columns": column}.get(kind, (row + 2 * column) / 5**0.5)
    sideways = sideways * rng.choice([-1, 1])
    angle = np.radians(degrees)
    step = np.cos(angle) * normal + np.sin(angle) * sideways
    step *= rng.uniform(0.5, 3) * (-1 if kind == "down" else 1)
    count = int(rng.integers(2, 30))
    positions = rng.uniform(-300, 300, 3) + np.arange(count)[:, None] * step
    return positions, np.concatenate([row, column]), degrees


def judge(got: float, want: float, call: str) -> None:
    if abs(got - want) <= TOLERANCE:
        return
    facts = {"call": call, "got": got, "want": want}
    if np.isnan(got):
        raise Failed("nan", call=call, want=want)
    if abs(np.degrees(got) - want) <= TOLERANCE and want:
        raise Failed("radians", **facts)
    if abs(abs(got) - want) <= TOLERANCE or abs(180 - got - want) <= TOLERANCE:
        raise Failed("sign", **facts)
    raise Failed("angle", **facts)
