"""Fault diagnosis of a wind turbine from one day of SCADA records.

No faults were recorded on this farm. They are injected, as in `solutions.wind.faults`,
so that each seed generates new days.
"""

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .task import Draw, tasks

if TYPE_CHECKING:
    from ....solutions.wind.scada import Scada

LEARN, TEST, DAY = 1500, 800, 144  # days, days, steps of ten minutes
FAULTS = (None, ("loss", 0.25, 48.0), ("stuck", 0.0, 12.0), ("cap", 0.5, 48.0))
WINDY = 5.0  # m/s, the least mean wind speed at which a fault is visible


@tasks.register("wind", title={"en": "Watch a wind farm", "zh": "监测风电场"})
def wind(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Days of 144 steps, `[N, 3, 144]`, in four classes.

    The channels are the power as a fraction of the rated power, the wind speed in m/s
    and the temperature in degrees Celsius. Class 0 is healthy; in class 1 a quarter of
    the power is lost; in class 2 the anemometer is stuck for 12 hours; in class 3 the
    power is capped at half of the rated power. The test days are from one random turbine
    in 2015, the training days from all others in 2014.
    """
    scada = farm()
    turbines = len(scada.turbines)
    unseen = int(rng.integers(turbines))
    others = [turbine for turbine in range(turbines) if turbine != unseen]
    half = int(np.searchsorted(scada.time, np.datetime64("2015-01-01")))
    x, y = days(rng, scada, others, (0, half), LEARN)
    test_x, test_y = days(rng, scada, [unseen], (half, len(scada)), TEST)
    return Draw(x, y, test_x, test_y)


@cache
def farm() -> "Scada":
    from ....solutions.wind.scada import from_frame
    from ....solutions.wind.wind_farm import wind_farm

    return from_frame(wind_farm())


def days(
    rng: np.random.Generator,
    scada: "Scada",
    turbines: list[int],
    span: tuple[int, int],
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windy days without gaps, and inject a fault of a random class into each."""
    x: list[np.ndarray] = []
    y: list[int] = []
    while len(x) < count:
        turbine = int(rng.choice(turbines))
        day = one_day(scada, turbine, int(rng.integers(span[0], span[1] - DAY)))
        complete = np.isfinite(day.power + day.wind + day.temperature).all()
        if complete and day.wind.mean() > WINDY:
            label = int(rng.integers(len(FAULTS)))
            x.append(channels(inject(day, label, rng)))
            y.append(label)
    return np.stack(x).astype(np.float32), np.array(y, np.int64)


def one_day(scada: "Scada", turbine: int, start: int) -> "Scada":
    day, row = slice(start, start + DAY), slice(turbine, turbine + 1)
    series = {
        name: getattr(scada, name)[row, day]
        for name in ("power", "wind", "temperature", "nacelle", "pressure")
    }
    return replace(scada, turbines=scada.turbines[row], time=scada.time[day], **series)


def inject(day: "Scada", label: int, rng: np.random.Generator) -> "Scada":
    from ....solutions.wind.faults import Fault

    fault = FAULTS[label]
    if fault is None:
        return day
    onset = int(rng.integers(DAY // 2)) if fault[0] == "stuck" else 0
    # these kinds do not use the power curve
    return Fault(*fault).inject(day, 0, onset, None)  # type: ignore[arg-type]


def channels(day: "Scada") -> np.ndarray:
    return np.stack([day.power[0] / day.rated_kw, day.wind[0], day.temperature[0]])
