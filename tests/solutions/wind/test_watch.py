"""A farm's records become alarms with reasons, verdicts, pictures and a page."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deepseek_learn import __version__, cli, solutions
from deepseek_learn.solutions.wind.reasons import Neighbors
from deepseek_learn.solutions.wind.report import lost_time
from deepseek_learn.solutions.wind.scada import STEP, ScadaError
from deepseek_learn.solutions.wind.solution import WindFarm
from deepseek_learn.solutions.wind.watch import watch

from .conftest import RATED, curve

START, ONSET = "2020-04-20", 16_560  # the fault begins on 25 April


def faulty(frame, column, factor):
    bad = frame.copy()
    rows = (bad["turbine"] == "T2") & (bad["time"] >= "2020-04-25")
    bad.loc[rows, column] *= factor
    return bad


@pytest.fixture(scope="module")
def ran(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("farm")
    faulty(frame, "power", 0.85).to_csv(folder / "scada.csv", index=False)
    command = ["solve", "wind", str(folder), "--out", str(folder / "out")]
    command += ["--healthy-until", START, "--rated-kw", str(RATED), "--steps", "40"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    return folder / "out", result.output


def test_lost_time_counts_stops_in_wind_and_absent_records(farm):
    days = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]")
    gauge = np.arange(10.0)[None]  # moves each step: never stuck
    watched = SimpleNamespace(
        start=2,
        expected_kw=np.array([[0, 0, 100, 100, 1000, 1000, 1000, 0, 200, 200.0]]),
        scada=replace(
            farm,
            turbines=("T1",),
            time=days,
            rated_kw=2000.0,
            wind=gauge,
            # 100 kW are 5 % of the rated power, no wind yet; 400 kW are still a stop
            power=np.array([[0, 0, 0, 0, 400, 401, -1, 0, 10, np.nan]]),
        ),
    )
    lost = lost_time(watched, 0)
    assert lost == {"stopped": 3 / 8, "stuck": 0.0, "absent": 1 / 8}


def test_a_loss_is_found_and_named(ran):
    out, said = ran
    lines = [
        json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()
    ]
    verdicts = {line["name"]: line for line in lines}
    assert [*verdicts] == ["T1", "T2", "T3", "T4"]
    assert verdicts["T2"]["verdict"] == "alarm"
    first = verdicts["T2"]["alarms"][0]
    assert "2020-04-25" < first["time"] < "2020-04-29"
    assert first["reason"] == "loss"
    assert -0.2 < first["deviation"] < -0.02
    assert "alarms" in said
    assert str(out / "index.html") in said


def test_the_page_shows_each_turbine(ran):
    out, _ = ran
    page = (out / "index.html").read_text()
    for number in range(1, 5):
        assert f"T{number}</bdi></h2>" in page
        assert Image.open(out / f"turbine_{number}.png").width > 500
    assert "check the yaw, the pitch and the blades" in page


def test_lines_and_page_name_where_they_come_from(ran):
    out, _ = ran
    stamps = [
        json.loads(line)["provenance"] for line in (out / "verdicts.jsonl").open()
    ]
    assert stamps == [stamps[0]] * 4
    assert len(stamps[0]["model"]) == 64
    options = {"healthy_until": START, "rated_kw": RATED, "seed": 0, "steps": 40}
    assert stamps[0]["options"] == options
    page = (out / "index.html").read_text()
    assert f"deepseek_learn {__version__}. Model: {stamps[0]['model']}" in page


@pytest.fixture(scope="module")
def neighbors(farm):
    """Who compares a farm in which the second turbine's sensor or power has changed."""

    def compare(name, factor):
        values = getattr(farm, name).copy()
        values[1, ONSET:] *= factor
        bad = replace(farm, **{name: values})
        curves = [curve_of(bad)] * 4
        return Neighbors.of(bad, curve(bad.wind), curves, slice(0, ONSET))

    return compare


def curve_of(farm):
    from deepseek_learn.solutions.wind.power import Curve, normal_wind

    return Curve.fit(normal_wind(farm)[0], farm.power[0] / RATED)


@pytest.mark.parametrize(
    ("name", "factor", "deviation", "reason"),
    [
        ("power", 0.85, np.log(0.85), "loss"),
        ("power", 1.15, np.log(1.15), "gain"),
        ("wind", 1.06, -0.2, "sensor_high"),
        ("wind", 0.94, 0.2, "sensor_low"),
    ],
)
def test_reasons_tell_power_from_sensor(neighbors, name, factor, deviation, reason):
    block = ONSET // 36 + 27
    assert neighbors(name, factor).reason(1, block, 28, deviation) == reason


def test_a_loss_in_frost_is_ice(farm, neighbors):
    compared = neighbors("power", 0.8)
    frosty = replace(compared, temperature=np.full_like(compared.temperature, -3.0))
    block = ONSET // 36 + 11
    assert frosty.reason(1, block, 12, np.log(0.8)) == "icing"
    assert neighbors("power", 1.0).reason(1, block, 12, -0.01) == "unclear"


def test_a_neighbor_without_thermometer_and_a_nacelle_to_the_north(farm, neighbors):
    warm = farm.temperature - 9.0
    warm[3] = np.nan
    north = np.full_like(farm.nacelle, 360.0)
    odd = replace(farm, temperature=warm, nacelle=north)
    values = odd.power.copy()
    values[1, ONSET:] *= 0.8
    odd = replace(odd, power=values)
    curves = [curve_of(odd)] * 4
    compared = Neighbors.of(odd, curve(odd.wind), curves, slice(0, ONSET))
    block = ONSET // 36 + 11
    assert compared.reason(1, block, 12, np.log(0.8)) == "icing"


@pytest.mark.parametrize("date", ["2020-02-01", "2020-06-30"])
def test_too_little_before_or_after_the_date_is_refused(farm, date):
    with pytest.raises(ScadaError, match="must leave at least 105 days before it"):
        watch(farm, date, progress=False)
    with pytest.raises(ValueError, match="steps must be"):
        watch(farm, START, steps=0, progress=False)


def test_a_turbine_that_never_ran_before_the_date_is_named(farm):
    power = farm.power.copy()
    power[2, :15_000] = -5.0
    with pytest.raises(ScadaError, match="too few hours in which T3 and"):
        watch(replace(farm, power=power), START, progress=False)


def report_on(watched, out):
    return WindFarm().judge_all(["farm"], watched, out, progress=False)


def test_what_could_not_be_judged_is_not_clear(farm, tmp_path):
    power = farm.power.copy()
    power[2, ONSET - 700 :] = -5.0  # stands still
    watched = watch(replace(farm, power=power), START, steps=2, progress=False)
    report = report_on(watched, tmp_path)
    verdicts = {row["name"]: row["verdict"] for row in report.verdicts}
    assert verdicts["T3"] == "refused"
    assert "refused: 1" in report.why()


def test_a_fault_that_began_before_the_date_is_reported(farm):
    power = farm.power.copy()
    power[1, ONSET - 1200 :] *= 0.8  # from four days before the date on
    watched = watch(replace(farm, power=power), START, steps=8, progress=False)
    assert "T2" in {alarm.turbine for alarm in watched.alarms}


def test_the_report_has_a_table_and_a_plot(farm, tmp_path):
    watched = watch(farm, START, steps=8, progress=False)
    report = report_on(watched, tmp_path)
    assert list(report.to_frame().columns)[:2] == ["turbine", "time"]
    assert len(report.plot().data) == 4
    assert report.why().startswith("4 turbines, 40 days after 2020-04-20")


def test_without_a_date_there_is_nothing_to_learn_from(frame, tmp_path):
    frame[:9].to_csv(tmp_path / "scada.csv", index=False)
    with pytest.raises(ValueError, match="healthy_until must be given"):
        solutions.load("wind").run(tmp_path, tmp_path / "out", progress=False)


def test_every_record_is_part_of_the_digest(farm):
    digests = {farm.sha256(), replace(farm, rated_kw=RATED + 1).sha256()}
    for name in ("power", "wind", "temperature", "nacelle"):
        values = getattr(farm, name).copy()
        values[2, 7] = 0.5
        digests.add(replace(farm, **{name: values}).sha256())
    digests.add(replace(farm, time=farm.time + STEP).sha256())
    assert len(digests) == 7
    assert farm.part(0, len(farm)).sha256() == farm.sha256()


def test_the_solution_is_listed():
    assert "wind" in solutions.names()


def test_a_column_without_a_name_is_refused(tmp_path):
    command = ["solve", "wind", str(tmp_path), "--out", str(tmp_path / "out")]
    command += ["--healthy-until", START, "--column", "power"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 2
    assert "must be like power=P_mean" in result.output
