"""What the values of a wind farm's records can be, and whose units they are in.

Nothing in a table says which unit a column is in. The rated power of a turbine and the
wind at which it gives half of it lie within known limits, so that most other units show.
"""

import pandas as pd

from ..verdicts import RefusedError

RANGES = {  # what a sensor can show; power: in parts of the rated power
    "power": (-0.05, 1.2),
    "wind": (0.0, 60.0),
    "temperature": (-60.0, 60.0),
    "nacelle": (-360.0, 720.0),
    "pressure": (500.0, 1100.0),
}
RATED_KW = (50.0, 20_000.0)  # of plausible turbines
BAD = 0.05  # more bad values than this part of a column are refused
SMALL_KW = 1200.0  # below it, kW could also be kWh per 10 minutes of a larger turbine
WEEK = 7 * 24 * 6  # values
ALIKE = 1.3  # the ratio of two turbines' power, above which they are of two types
# m/s at which turbines give half of their rated power: 6.5 for 150 W/m² of rotor, 10.3
# for 600; in knots that is 12.6 and more
HALF_LOAD = (5.0, 11.5)


class ScadaError(RefusedError):
    """Raised if a farm's records cannot be used."""


def rated_power(power: pd.Series, rated_kw: float | None) -> float:
    """Return the rated power in kW: the given one, or the 99.9th percentile.

    Raises:
        ScadaError: if the values are in another unit, or may be.
    """
    if not power.notna().any():
        raise ScadaError("power has no value.")
    usual, highest = (float(power.quantile(q)) for q in (0.98, 0.999))
    if rated_kw is None and highest > 2 * usual > 0:
        raise ScadaError(
            f"98 % of the power is below {usual:.4g} and 99.9 % below {highest:.4g}, so "
            f"the rated power is not clear: pass rated_kw."
        )
    rated = highest if rated_kw is None else float(rated_kw)
    low, high = RATED_KW
    if rated_kw is None and low <= highest < SMALL_KW:
        raise ScadaError(
            f"99.9 % of the power is below {highest:.4g}: these may be kW, or kWh per 10 "
            f"minutes of turbines of {6 * highest:,.0f} kW. Pass rated_kw."
        )
    fits = 0.2 * rated <= highest and usual <= 1.2 * rated
    if not (low <= rated <= high and fits):
        raise ScadaError(
            f"power must be in kW, of turbines of {low:,.0f} to {high:,.0f} kW; 99.9 % of "
            f"the values are below {highest:.4g}"
            + ("." if rated_kw is None else f", and rated_kw is {rated:.4g}.")
        )
    return rated


def check_types(
    turbine: pd.Series, power: pd.Series, wind: pd.Series, rated: float
) -> None:
    """Refuse turbines of several types: all share one rated power.

    Their highest power differs, and so does the power in the same wind. With a fault or a
    gap, one of the two is as usual.
    """
    half = wind[(power > 0.45 * rated) & (power < 0.55 * rated)].median()
    same = (wind - half).abs() < 1
    own = power.groupby(turbine)
    highest = own.quantile(0.999)
    # not of a turbine that stands still, or was recorded for less than a week
    highest = highest[(highest > 0.2 * rated) & (own.count() >= WEEK)]
    usual = power[same].groupby(turbine[same]).median().reindex(highest.index)
    if not len(highest):
        return
    small, large = highest.idxmin(), highest.idxmax()
    if all(each[large] > ALIKE * each[small] for each in (highest, usual)):
        raise ScadaError(
            f"All turbines must be of one type; {small} gives up to {highest[small]:.4g} "
            f"kW and {large} up to {highest[large]:.4g}. Read each type by itself."
        )


def check_wind(wind: pd.Series, load: pd.Series) -> None:
    """Refuse another unit: half of the rated power comes at some 7 to 10 m/s."""
    half = wind[(load > 0.45) & (load < 0.55)]
    low, high = HALF_LOAD
    if len(half) >= 50 and not low <= half.median() <= high:
        raise ScadaError(
            f"wind must be in m/s; half of the rated power comes at {half.median():.3g}, "
            f"and not between {low:g} and {high:g}."
        )


def without_impossible(
    values: pd.Series, name: str, low: float, high: float, notes: list[str]
) -> pd.Series:
    """Remove what the sensor cannot have shown."""
    bad = int(((values < low) | (values > high)).sum())
    if bad > BAD * max(1, int(values.notna().sum())):
        raise ScadaError(
            f"{name} must be between {low:.4g} and {high:.4g}; {bad} of "
            f"{int(values.notna().sum())} values are not."
        )
    if bad:
        notes.append(f"{bad} impossible values of {name} are left out.")
    return values.where((values >= low) & (values <= high))
