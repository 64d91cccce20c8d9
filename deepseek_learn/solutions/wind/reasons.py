r"""Why an alarm was raised: the power, or the wind sensor?

Two comparisons with the neighbors tell them apart. Let a be the change of a turbine's
power against its neighbors' power, b that of its measured wind against theirs (both as
logarithms, against the 60 days before), and d the deviation that raised the alarm. A loss
gives a = d and b = 0; a sensor that reads wrong gives a = 0 and b = -d / s, where s, about
2.5, is the slope of the power curve in logarithms. The likelier of the two is named if it
is at least 10 times as likely as the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .monitor import BLOCK, MEMORY, comparable
from .power import Curve, farm_median, normal_wind
from .scada import Scada

SECTORS = 12  # of wind directions: wakes differ
CERTAIN = 2 * np.log(10)  # difference of the squared distances
FROST_C, FAST = 2.0, 0.08  # icing: frost, and a loss of that much within three days
LEAST = 20  # comparable blocks


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Each turbine's power and wind against its neighbors', in blocks of six hours.

    Attributes:
        power, wind: logarithms of the ratio, what is usual for the wind direction taken
            off, `[N, K]`; NaN in blocks without comparable steps.
        noise: spreads of their means over a window, `[2, N]`, for `power` and `wind`.
        temperature: of the farm, `[K]`.
        slope: of each turbine's power curve, in logarithms, `[N]`.
    """

    power: np.ndarray
    wind: np.ndarray
    noise: np.ndarray
    temperature: np.ndarray
    slope: np.ndarray

    @classmethod
    def of(
        cls,
        scada: Scada,
        expected_kw: np.ndarray,
        curves: Sequence[Curve],
        usual: slice,
    ) -> "Neighbors":
        """Compare the turbines of a farm.

        Args:
            usual: the steps of the reference period.
        """
        use = comparable(scada, expected_kw)
        direction = _sectors(scada)
        ratios = [
            _ratios(np.where(use, x, np.nan), direction, usual)
            for x in (scada.power, normal_wind(scada))
        ]
        blocks = slice(usual.start // BLOCK, usual.stop // BLOCK)
        noise = [[_noise(row[blocks]) for row in each] for each in ratios]
        warm = farm_median(_block_means(scada.temperature))
        slope = np.array([_slope(curve) for curve in curves])
        return cls(ratios[0], ratios[1], np.array(noise), warm, slope)

    def reason(self, turbine: int, block: int, window: int, deviation: float) -> str:
        """Return the key of the reason for an alarm that ended with a block.

        One of "sensor_high", "sensor_low", "icing", "loss", "gain" and "unclear".
        """
        power, wind = (
            _change(x[turbine], block, window) for x in (self.power, self.wind)
        )
        if not (np.isfinite(power) and np.isfinite(wind)):
            return "unclear"
        of_power, of_wind = self.noise[:, turbine]
        shift = -deviation / self.slope[turbine]
        sensor = (power / of_power) ** 2 + ((wind - shift) / of_wind) ** 2
        real = ((power - deviation) / of_power) ** 2 + (wind / of_wind) ** 2
        if abs(sensor - real) < CERTAIN:
            return "unclear"
        if sensor < real:
            return "sensor_high" if deviation < 0 else "sensor_low"
        if deviation > 0:
            return "gain"
        frost = np.nanmin(self.temperature[max(0, block - 11) : block + 1], initial=99)
        return "icing" if frost < FROST_C and deviation < -FAST else "loss"


def _sectors(scada: Scada) -> np.ndarray:
    """Return the farm's sector of the wind direction, `[T]`; -1 where it is unknown."""
    angle = np.radians(scada.nacelle)
    x, y = (farm_median(f(angle)) for f in (np.cos, np.sin))
    turn = np.degrees(np.arctan2(y, x)) % 360 % 360  # a tiny negative angle gives 360
    return np.where(
        np.isfinite(turn), np.nan_to_num(turn) // (360 / SECTORS), -1
    ).astype(int)


def _ratios(x: np.ndarray, sector: np.ndarray, usual: slice) -> np.ndarray:
    """Return log ratios to the neighbors' median, usual ones taken off, `[N, K]`."""
    rows = []
    for i, own in enumerate(x):
        others = np.delete(x, i, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(own / farm_median(others, 2))
        table = pd.Series(ratio[usual]).groupby(sector[usual]).median()
        typical = table.reindex(range(-1, SECTORS)).fillna(np.nanmedian(ratio[usual]))
        rows.append(ratio - typical.loc[sector].to_numpy())
    return _block_means(np.stack(rows))


def _block_means(x: np.ndarray) -> np.ndarray:
    count = x.shape[1] // BLOCK
    blocks = x[:, : count * BLOCK].reshape(len(x), count, BLOCK)
    steps = np.isfinite(blocks).sum(2)
    return np.where(steps >= 6, np.nansum(blocks, 2) / np.maximum(steps, 1), np.nan)


def _change(x: np.ndarray, block: int, window: int) -> float:
    """Return the mean over a window minus that of the 60 days before it."""
    start = block + 1 - window
    now, before = (
        x[max(0, start) : block + 1],
        x[max(0, start - MEMORY) : max(0, start)],
    )
    if np.isfinite(now).sum() < 2 or np.isfinite(before).sum() < LEAST:
        return float("nan")
    return float(np.nanmean(now) - np.nanmedian(before))


def _noise(x: np.ndarray) -> float:
    """Return the spread of the changes over a week in the reference period."""
    window = 28
    ends = range(window + LEAST, len(x), window)
    changes = np.array([_change(x, end, window) for end in ends])
    usable = changes[np.isfinite(changes)]
    return max(0.01, float(1.4826 * np.median(np.abs(usable)))) if len(usable) else 0.05


def _slope(curve: Curve) -> float:
    """Return d log P / d log v where the curve is between 10 and 80 % of its top."""
    v = np.arange(3, 20, 0.1)
    power = curve(v)
    part = (power > 0.1 * power.max()) & (power < 0.8 * power.max())
    if part.sum() < 3:
        return 2.5
    return float(np.polyfit(np.log(v[part]), np.log(power[part]), 1)[0])
