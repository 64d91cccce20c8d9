"""A farm's records are read exactly, and what is wrong with them is said or refused."""

import numpy as np
import pandas as pd
import pytest

from deepseek_learn.solutions.wind import wind_farm
from deepseek_learn.solutions.wind.plausibility import HALF_LOAD
from deepseek_learn.solutions.wind.scada import (
    ScadaError,
    from_frame,
    read_scada,
)

from .conftest import RATED, records


@pytest.fixture
def short():
    return records(days=10)


def written(frame, path, **options):
    frame.to_csv(path, index=False, **options)
    return path


def test_records_are_arranged_by_turbine_and_time(short):
    farm = from_frame(short.sample(frac=1, random_state=0), rated_kw=RATED)
    assert farm.turbines == ("T1", "T2", "T3", "T4")
    assert farm.power.shape == (4, 1440)
    own = short[short["turbine"] == "T3"]
    np.testing.assert_allclose(farm.wind[2], own["wind"])
    assert (np.diff(farm.time) == np.timedelta64(10, "m")).all()
    assert farm.warnings == ("The times have no zone and are taken as they are.",)


def test_a_part_holds_its_steps(short):
    farm = from_frame(short, rated_kw=RATED)
    part = farm.between("2020-01-03", "2020-01-05")
    assert len(part) == 288
    assert part.time[0] == np.datetime64("2020-01-03")
    np.testing.assert_array_equal(part.power, farm.power[:, 288:576])
    with pytest.raises(ValueError, match="must be like 2015-01-31; got 'soon'"):
        farm.between("soon")


def test_the_operators_own_files_are_read(short, tmp_path):
    names = {"turbine": "Wind_turbine_name", "time": "Date_time", "power": "P_avg"}
    names |= {"wind": "Ws_avg", "temperature": "Ot_avg", "nacelle": "Ya_avg"}
    theirs = short.rename(columns=names).assign(Va_avg=1.0)
    theirs["Date_time"] = theirs["Date_time"].dt.strftime("%Y-%m-%dT%H:%M:%S+01:00")
    farm = read_scada(written(theirs, tmp_path / "farm.csv"), rated_kw=RATED)
    assert farm.time[0] == np.datetime64("2019-12-31T23:00")
    assert farm.warnings == ()


def test_a_folder_may_hold_a_file_per_turbine(short, tmp_path):
    for name, own in short.groupby("turbine"):
        written(own, tmp_path / f"{name}.csv", sep=";", decimal=",")
    farm = read_scada(tmp_path, rated_kw=RATED)
    np.testing.assert_allclose(farm.wind[0], short["wind"][:1440])


def test_other_names_of_columns_are_given(short, tmp_path):
    path = written(short.rename(columns={"power": "Leistung"}), tmp_path / "farm.csv")
    with pytest.raises(ScadaError, match=r"no column for 'power' .* it has .*Leistung"):
        read_scada(path)
    farm = read_scada(path, columns={"power": "leistung"}, rated_kw=RATED)
    assert np.nanmax(farm.power) > 0


def test_two_columns_for_one_name_are_refused(short, tmp_path):
    path = written(short.assign(P_avg=short["power"]), tmp_path / "farm.csv")
    with pytest.raises(ScadaError, match="several columns that may be 'power'"):
        read_scada(path)


def test_gaps_stay_gaps(short):
    holes = short.drop(index=range(100, 130))
    farm = from_frame(holes, rated_kw=RATED)
    assert np.isnan(farm.power[0, 100:130]).all()
    assert np.isfinite(farm.power[1:]).all()
    many = short.drop(index=range(1400))
    assert "97% of the power of T1 is missing." in from_frame(many).warnings


def test_a_jump_of_local_time_is_said(short):
    local = short["time"].dt.tz_localize("UTC").dt.tz_convert("Europe/Paris")
    shifted = local + (pd.Timestamp("2020-10-20", tz="UTC") - local[0])
    digits = shifted.dt.tz_convert("Europe/Paris").dt.tz_localize(None)
    farm = from_frame(short.assign(time=digits), rated_kw=RATED)
    (said,) = [w for w in farm.warnings if "share turbine and time" in w]
    assert said.startswith("48 rows")  # two hours of four turbines
    assert "2020-10-25" in said
    doubled = farm.time == np.datetime64("2020-10-25T02:30")
    assert np.isnan(farm.power[:, doubled]).all()


def test_rows_that_are_there_twice(short):
    farm = from_frame(pd.concat([short, short]), rated_kw=RATED)
    assert np.isfinite(farm.power).all()
    assert len(farm.warnings) == 1
    other = short.assign(wind=short["wind"] + 1)
    with pytest.raises(ScadaError, match="must have one row per time"):
        from_frame(pd.concat([short, other]), rated_kw=RATED)


def test_zones(short):
    digits = short["time"].dt.strftime("%Y-%m-%d %H:%M")
    farm = from_frame(short.assign(time=digits + "+01"), rated_kw=RATED)
    assert farm.time[0] == np.datetime64("2019-12-31T23:00")
    assert farm.warnings == ()
    some = digits.where(short["turbine"] != "T1", digits + "+05:00")
    with pytest.raises(ScadaError, match="Either all times must have a zone or none"):
        from_frame(short.assign(time=some), rated_kw=RATED)


def test_a_stray_time_is_refused(short):
    stray = short.iloc[:1].assign(time=pd.Timestamp("1990-01-01"))
    with pytest.raises(ScadaError, match=r"fill only .* from 1990-01-01"):
        from_frame(pd.concat([short, stray]), rated_kw=RATED)


def test_words_and_empty_names_are_said(short):
    words = short["power"].astype(str)
    words[:5] = "Bad"
    names = short["turbine"].astype(object)
    names[5:8] = np.nan
    farm = from_frame(short.assign(power=words, turbine=names), rated_kw=RATED)
    assert "5 values of power that are no numbers are left out." in farm.warnings
    assert "3 rows without the name of a turbine are left out." in farm.warnings
    assert np.isnan(farm.power[0, :8]).all()


def test_thousands_are_not_taken_for_decimals(short):
    power = short["power"].map("{:,.0f}".format)
    with pytest.raises(ScadaError, match="the comma may stand for thousands"):
        from_frame(short.assign(power=power), rated_kw=RATED)


def test_another_unit_of_wind_is_refused(short):
    with pytest.raises(
        ScadaError, match="wind must be in m/s; half of the rated power"
    ):
        from_frame(short.assign(wind=3.0 * short["wind"]), rated_kw=RATED)


@pytest.mark.parametrize("factor", [1.94, 2.24, 3.6, 0.5])  # knots, mph, km/h
def test_knots_and_miles_per_hour_are_refused(short, factor):
    with pytest.raises(ScadaError, match="wind must be in m/s"):
        from_frame(short.assign(wind=factor * short["wind"]), rated_kw=RATED)


@pytest.mark.parametrize("watts_per_m2", [150, 600])
def test_every_usual_turbine_gives_half_of_its_power_in_the_range(watts_per_m2):
    """P / A = rho / 2 * c_p * v³, with c_p = 0.45 at half load."""
    half_load = (watts_per_m2 / 2 / (1.225 / 2 * 0.45)) ** (1 / 3)
    assert HALF_LOAD[0] < half_load < HALF_LOAD[1]
    assert 1.94 * half_load > HALF_LOAD[1]


def test_two_types_of_turbines_are_refused(short):
    large = short[short["turbine"] == "T4"]
    mixed = short[short["turbine"] != "T4"].assign(power=0.425 * short["power"])
    farm = pd.concat([mixed, large.assign(power=1.65 * large["power"])])
    with pytest.raises(ScadaError, match=r"of one type; T. gives up to 8.* T4 up to 3"):
        from_frame(farm, rated_kw=3300.0)


def test_a_turbine_that_stands_still_is_no_other_type(short):
    still = short["power"].where(short["turbine"] != "T4", -5.0)
    assert len(from_frame(short.assign(power=still), rated_kw=RATED).turbines) == 4


def test_energy_per_ten_minutes_is_refused(short):
    energy = short.assign(power=short["power"] / 6)
    with pytest.raises(
        ScadaError, match=r"or kWh per 10 minutes of turbines of 2,000 kW"
    ):
        from_frame(energy)
    with pytest.raises(ScadaError, match="and rated_kw is 2000"):
        from_frame(energy, rated_kw=RATED)
    assert from_frame(energy, rated_kw=RATED / 6).rated_kw == RATED / 6  # small ones
    assert from_frame(short).rated_kw == pytest.approx(RATED)


def test_a_sentinel_is_not_the_rated_power(short):
    power = short["power"].copy()
    power[::200] = 9999.0
    with pytest.raises(ScadaError, match="the rated power is not clear: pass rated_kw"):
        from_frame(short.assign(power=power))
    farm = from_frame(short.assign(power=power), rated_kw=RATED)
    assert np.nanmax(farm.power) <= 1.2 * RATED


def test_columns_must_be_known(short, tmp_path):
    path = written(short, tmp_path / "farm.csv")
    with pytest.raises(ValueError, match=r"columns may name turbine, .* got 'powr'"):
        read_scada(path, columns={"powr": "power"})
    both = written(short.assign(Power=1.0), tmp_path / "both.csv")
    with pytest.raises(ScadaError, match="may be 'power': 'power', 'Power'"):
        read_scada(both)


def test_times_beside_the_full_ten_minutes(short):
    rng = np.random.default_rng(0)
    jitter = pd.to_timedelta(rng.integers(-20, 20, len(short)), unit="s")
    farm = from_frame(short.assign(time=short["time"] + jitter), rated_kw=RATED)
    np.testing.assert_allclose(farm.wind[1], short["wind"][1440:2880])
    late = short.assign(time=short["time"] + pd.Timedelta("4min"))
    farm = from_frame(late, rated_kw=RATED)
    np.testing.assert_allclose(farm.wind[1], short["wind"][1440:2880])
    assert (
        "The times are moved by 0 days 00:04:00 to full ten minutes." in farm.warnings
    )


def test_directions_are_averaged_on_the_circle():
    fine = records(days=4)
    fine["time"] = pd.Timestamp("2020-01-01") + (fine["time"] - fine["time"][0]) / 2
    fine["nacelle"] = np.where(np.arange(len(fine)) % 2, 359.0, 3.0)
    farm = from_frame(fine, rated_kw=RATED)
    np.testing.assert_allclose(farm.nacelle, 1.0, atol=1e-6)


def test_one_turbine_with_longer_steps_is_refused(short):
    hourly = short[(short["turbine"] != "T3") | (short["time"].dt.minute == 0)]
    with pytest.raises(ScadaError, match="The rows of T3 must be 10 minutes apart"):
        from_frame(hourly, rated_kw=RATED)


def test_power_below_zero(short):
    few = short.copy()
    few.loc[:9, "power"] = -500.0
    farm = from_frame(few, rated_kw=RATED)
    assert "10 impossible values of power are left out." in farm.warnings
    assert np.isnan(farm.power[0, :10]).all()
    half = short["power"].where(short["turbine"] < "T3", -short["power"] - 200)
    with pytest.raises(ScadaError, match="power must be between -100 and 2400"):
        from_frame(short.assign(power=half), rated_kw=RATED)
    with pytest.raises(ScadaError, match=r"99\.9 % of the values are below -1"):
        from_frame(short.assign(power=-short["power"].abs() - 1), rated_kw=RATED)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_megawatts_and_watts_are_refused(short, factor):
    with pytest.raises(ScadaError, match="power must be in kW"):
        from_frame(short.assign(power=factor * short["power"]))
    with pytest.raises(ScadaError, match="and rated_kw is 2000"):
        from_frame(short.assign(power=factor * short["power"]), rated_kw=RATED)


def test_shorter_steps_are_averaged():
    fine = records(days=4)
    fine["time"] = pd.Timestamp("2020-01-01") + (fine["time"] - fine["time"][0]) / 2
    farm = from_frame(fine, rated_kw=RATED)
    assert farm.power.shape == (4, 288)
    assert farm.wind[0, 0] == pytest.approx(fine["wind"][:2].mean())
    assert "Rows 5 minutes apart are averaged." in farm.warnings


def test_hours_are_refused(short):
    with pytest.raises(ScadaError, match="must be 10 minutes apart"):
        from_frame(short[short["time"].dt.minute == 0], rated_kw=RATED)


def test_two_turbines_are_no_farm(short):
    with pytest.raises(ScadaError, match="at least 3; got T1, T2"):
        from_frame(short[short["turbine"].isin(["T1", "T2"])], rated_kw=RATED)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("time", "yesterday", "time must be like 2015-01-31"),
        ("power", "much", "power must be numbers"),
        ("wind", -5.0, "wind must be between 0 and 60"),
    ],
)
def test_a_column_of_nonsense_is_refused(short, column, value, message):
    with pytest.raises(ScadaError, match=message):
        from_frame(short.assign(**{column: value}), rated_kw=RATED)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"a,b\n1,2\n",
        b"\x1f\x8b\x08",
        b"a\n1,2,3,4\n",
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "farm.csv"
    path.write_bytes(content)
    with pytest.raises(ScadaError, match=r"farm\.csv"):
        read_scada(path)


def test_a_missing_file_is_said(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match="is not a CSV file or a folder"):
            read_scada(path)


def test_la_haute_borne_is_a_farm():
    frame = wind_farm.wind_farm()
    assert len(frame) == 420_480
    march = frame[(frame["turbine"] == "R80711") & frame["power"].isna()]
    assert (march["time"] == "2014-03-30 03:30").any()  # a doubled stamp
    farm = from_frame(frame[frame["time"] < "2014-02-01"], rated_kw=wind_farm.RATED_KW)
    assert farm.turbines == ("R80711", "R80721", "R80736", "R80790")
    assert 0.1 < np.nanmean(farm.power) / wind_farm.RATED_KW < 0.5
