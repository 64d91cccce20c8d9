r"""Faults with known truth, injected into the records of a healthy farm.

Nobody recorded faults on La Haute Borne, so they are made: each changes one turbine's
records from an onset on, as the fault would.

- `yaw`: the nacelle looks past the wind by some degrees :math:`\theta`. The power is what
  the turbine's curve gives at :math:`v \cos\theta`: nothing is lost at rated power.
- `anemometer`: the wind sensor reads too much by some part of the wind speed.
- `loss`: a part of the power is lost (soiled or damaged blades, a throttled drive).
- `icing`: at an onset with frost, the loss grows for 12 hours, stays, and melts away over
  6 hours after 1 to 4 days.
- `stuck`: the wind sensor shows its last value for some hours.
- `cap`: the power is capped at some part of the rated power.

Version 1 of this generator was fixed before any detector was tuned on it.
"""

from dataclasses import dataclass, replace

import numpy as np

from .power import Curve, normal_wind
from .scada import Scada

FROST_C = 1.0
PER_HOUR = 6  # steps
GROWS, MELTS = 12 * PER_HOUR, 6 * PER_HOUR


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        kind: one of the kinds above.
        size: degrees, a part of wind or power, or hours (`stuck`).
        hours: how long it lasts.
    """

    kind: str
    size: float
    hours: float

    def inject(self, scada: Scada, turbine: int, onset: int, curve: Curve) -> Scada:
        """Return a farm in which the turbine has the fault from a step on."""
        stop = min(len(scada), onset + round(self.hours * PER_HOUR))
        span = slice(onset, stop)
        power, wind = scada.power.copy(), scada.wind.copy()
        x, y = wind[turbine, span], power[turbine, span]  # views
        running = y > 0
        if self.kind == "yaw":
            speed = normal_wind(scada)[turbine, span]
            straight = np.maximum(curve(np.nan_to_num(speed)), 1e-3)
            turned = curve(np.nan_to_num(speed) * np.cos(np.radians(self.size)))
            y[running] *= np.clip(turned / straight, 0, 1)[running]
        elif self.kind == "anemometer":
            x *= 1 + self.size
        elif self.kind == "loss":
            y[running] *= 1 - self.size
        elif self.kind == "icing":
            y[running] *= (1 - self.size * _growth(len(y)))[running]
        elif self.kind == "stuck":
            x[:] = x[0]
        elif self.kind == "cap":
            y[:] = np.minimum(y, self.size * scada.rated_kw)
        else:
            raise ValueError(
                f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}."
            )
        return replace(scada, power=power, wind=wind)


def _growth(count: int) -> np.ndarray:
    """Return how far the ice has grown in each step, from 0 to 1."""
    t = np.arange(count)
    return np.clip(np.minimum((t + 1) / GROWS, (count - t) / MELTS), 0, 1)


KINDS = ("yaw", "anemometer", "loss", "icing", "stuck", "cap")
LONG = 30 * 24.0  # hours: until after the last evaluation
CASES = {  # name: kind, size; the size of an icing is drawn
    "yaw 6 degrees": Fault("yaw", 6, LONG),
    "yaw 8 degrees": Fault("yaw", 8, LONG),
    "yaw 10 degrees": Fault("yaw", 10, LONG),
    "anemometer +3 %": Fault("anemometer", 0.03, LONG),
    "anemometer +5 %": Fault("anemometer", 0.05, LONG),
    "loss of 5 %": Fault("loss", 0.05, LONG),
    "loss of 10 %": Fault("loss", 0.10, LONG),
    "icing": Fault("icing", 0.0, 0.0),
    "stuck anemometer": Fault("stuck", 0.0, 48),
    "cap at 95 %": Fault("cap", 0.95, LONG),
}


def drawn(case: str, rng: np.random.Generator) -> Fault:
    """Return a case's fault; icing takes 15 to 40 % for 1 to 4 days."""
    fault = CASES[case]
    if fault.kind != "icing":
        return fault
    return replace(
        fault, size=float(rng.uniform(0.15, 0.4)), hours=float(rng.uniform(24, 96))
    )


def onsets(
    scada: Scada, case: str, count: int, rng: np.random.Generator, margin_days: int = 75
) -> list[int]:
    """Draw the steps at which a case begins, the same for all turbines.

    They lie at least `margin_days` after the start, which a detector needs as history, and
    30 days before the end. Icing begins in frost, a stuck sensor in wind.
    """
    low, high = margin_days * 144, len(scada) - 30 * 144
    possible = np.arange(low, high)
    kind = CASES[case].kind
    with np.errstate(invalid="ignore"):
        if kind == "icing":
            cold = np.nan_to_num(scada.temperature, nan=99.0).min(0) < FROST_C
            possible = possible[cold[low:high]]
        if kind == "stuck":
            windy = (np.nan_to_num(scada.wind) > 4).all(0)
            possible = possible[windy[low:high]]
    return sorted(int(step) for step in rng.choice(possible, count, replace=False))
