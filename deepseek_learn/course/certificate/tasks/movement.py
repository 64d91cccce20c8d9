"""Activity recognition from the inertial sensors of a smartphone, across people."""

from functools import cache

import numpy as np

from .task import Draw, hold_out, tasks

LEARN, TEST = 3000, 1200


@tasks.register("movement", title={"en": "Read a movement", "zh": "识别动作"})
def movement(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Windows of 2.56 s, `[N, 6, 128]`, in six activities; the test people are new.

    The channels are acceleration in g and angular velocity in rad/s, sampled at 50 Hz.
    """
    x, y, people = windows()
    learn, test = hold_out(people, 1 / 3, rng)
    learn, test = learn[:LEARN], test[:TEST]
    return Draw(x[learn], y[learn], x[test], y[test])


@cache
def windows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from ....solutions.movement.hapt import ACTIVITIES, movements

    splits = movements()
    parts = [splits.train, splits.validation, splits.test]
    batches = [part.batch() for part in parts]
    x = np.concatenate([batch[0].numpy() for batch in batches]).astype(np.float32)
    y = np.concatenate([batch[1].numpy() for batch in batches]).astype(np.int64)
    people = np.concatenate([np.asarray(part.groups) for part in parts])
    activity = y < ACTIVITIES  # without the short transitions
    return x[activity], y[activity], people[activity]
