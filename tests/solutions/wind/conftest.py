"""A generated farm: four turbines in the same weather."""

import numpy as np
import pandas as pd
import pytest

from deepseek_learn.solutions.wind.scada import from_frame

RATED = 2000.0
DAYS = 150


def curve(wind):
    return RATED / (1 + np.exp(-(wind - 8.5) / 1.1)) * (wind > 3)


def records(days=DAYS, seed=0):
    """A farm's records, with a column for each sensor."""
    rng = np.random.default_rng(seed)
    steps = days * 144
    slow = np.repeat(rng.gamma(6, 1.1, days * 4), 36)
    weather = np.convolve(slow, np.ones(36) / 36, mode="same")
    weather = np.clip(weather + rng.normal(0, 0.4, steps), 0.5, 24)
    warm = 6 + 8 * np.sin(np.arange(steps) / 144 * 2 * np.pi / 60)
    shared = 1 + 0.05 * np.sin(np.arange(steps) / 144 * 2 * np.pi / 40)  # unexplained
    time = pd.date_range("2020-01-01", periods=steps, freq="10min")
    frames = []
    for number in range(4):
        wind = np.clip(weather + rng.normal(0, 0.3, steps), 0.1, None)
        own_days = np.repeat(rng.normal(1, 0.02, days), 144)
        power = curve(wind) * shared * own_days * (1 + rng.normal(0, 0.03, steps))
        own = {"turbine": f"T{number + 1}", "time": time, "wind": wind.round(2)}
        own |= {"power": np.clip(power, -10, RATED), "temperature": warm}
        own |= {"nacelle": (np.arange(steps) / 20) % 360, "pressure": 980.0}
        frames.append(pd.DataFrame(own))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="session")
def frame():
    return records()


@pytest.fixture(scope="session")
def farm(frame):
    return from_frame(frame, rated_kw=RATED)
