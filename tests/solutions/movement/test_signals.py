"""Recordings of any usual unit, and what is refused."""

import json
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from deepseek_learn import __version__, solutions
from deepseek_learn.cli.commands import app
from deepseek_learn.solutions.movement import physics
from deepseek_learn.solutions.movement.hapt import CLASSES, folds, recordings
from deepseek_learn.solutions.movement.signals import SignalError, read_signal

NAMES = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
DEGREES = 180 / np.pi


@pytest.fixture(scope="module")
def recorded():
    return recordings()[0].signal[:, :9000].astype(float)


@pytest.fixture
def write(tmp_path, recorded):
    def write(signal=None, time=None, names=NAMES, name="x.csv", **options):
        signal = recorded if signal is None else signal
        frame = pd.DataFrame(np.asarray(signal).T, columns=names)
        if time is None:
            time = np.arange(len(frame)) / 50
        if time is not False:
            frame.insert(0, "time", time)
        frame.to_csv(tmp_path / name, index=False, **options)
        return tmp_path / name

    return write


def same(signal, recorded):
    ((start, samples),) = signal.parts
    assert start == 0
    count = samples.shape[1]
    assert abs(count - recorded.shape[1]) <= 1
    return np.abs(samples - recorded[:, :count]).max()


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e9])
def test_units_are_found(write, recorded, unit):
    scale = np.array([9.80665] * 3 + [DEGREES] * 3)[:, None]
    time = (np.arange(recorded.shape[1]) * 0.02 * unit + 7 * unit).astype(np.int64)
    signal = read_signal(write(recorded * scale, time))
    assert same(signal, recorded) < 1e-4
    assert [each.split(" is in ")[1].split(";")[0] for each in signal.warnings] == [
        "m/s²",
        "degrees per second",
    ]


def test_dates_decimal_commas_and_own_names(write, recorded):
    stamps = pd.date_range("2026-01-01 10:00", periods=recorded.shape[1], freq="20ms")
    names = ["AccX", "AccY", "AccZ", "Gyr X", "Gyr Y", "Drehung"]
    path = write(recorded, stamps, names, sep=";", decimal=",")
    signal = read_signal(path, columns={"gyro-z": "Drehung"})
    assert same(signal, recorded) < 1e-4
    assert signal.warnings == ()
    with pytest.raises(SignalError, match="There is no column for 'gyro-z'"):
        read_signal(path)
    with pytest.raises(ValueError, match=r"columns may name time, acc-x.*got 'power'"):
        read_signal(path, columns={"power": "x"})


def test_100_hz_is_averaged_and_25_hz_is_warned_of(write, recorded):
    fast = np.arange(0, 170, 0.01)
    grid = np.arange(recorded.shape[1]) / 50
    signal = read_signal(write([np.interp(fast, grid, row) for row in recorded], fast))
    assert (
        same(signal, recorded[:, : 170 * 50 + 1]) < 1.2
    )  # quick steps are rounded off
    assert signal.warnings == ("Resampled from 100 to 50 samples per second.",)
    slow = read_signal(write(recorded[:, ::2], grid[::2]))
    assert slow.rate == pytest.approx(25)
    assert "quick movements are blurred" in slow.warnings[1]


def test_gaps_are_bridged_or_cut(write, recorded):
    grid = np.arange(recorded.shape[1]) / 50
    keep = np.ones(len(grid), bool)
    keep[1000:1005] = keep[3000:3100] = keep[3150:3400] = False
    signal = read_signal(write(recorded[:, keep], grid[keep]))
    starts = [start for start, _ in signal.parts]
    np.testing.assert_allclose(starts, [0, 68], atol=0.03)
    assert signal.warnings[0] == "Interpolated: gaps of up to 0.2 s (1)."
    assert signal.warnings[1] == "Cut: at gaps of more than 0.2 s (2)."
    assert "Not read: 1.0 s between gaps" in signal.warnings[2]


def test_rows_that_repeat_or_are_no_numbers_are_left_out(write, recorded):
    grid = np.arange(recorded.shape[1]) / 50
    order = np.sort(np.r_[np.arange(len(grid)), 500, 501])
    holed = recorded.copy()
    holed[2, 700] = np.nan
    signal = read_signal(write(holed[:, order], grid[order]))
    assert signal.warnings == (
        "Left out: rows that are no numbers (1).",
        "Left out: rows that repeat a time (2).",
        "Interpolated: gaps of up to 0.2 s (1).",
    )


def refused(path, pattern, **options):
    """Whether the reader refuses a file for this reason."""
    with pytest.raises(SignalError) as caught:
        read_signal(path, **options)
    return re.search(pattern, str(caught.value)) is not None


def test_what_physics_contradicts_is_refused(write, recorded):
    still = recorded - np.r_[recorded[:3].mean(1), np.zeros(3)][:, None]
    assert refused(write(still), "Has gravity been removed")
    assert refused(write(recorded[[0, 1, 2, 4, 5, 3]]), "Do the axes|same axes")
    mirrored = recorded * np.array([1, 1, 1, -1, -1, -1])[:, None]
    assert refused(write(mirrored), "correlation is -0")
    assert refused(
        write(recorded * np.array([1, 1, 1, 5, 5, 5])[:, None]),
        r"0\.1\d+ times as fast",
    )
    assert refused(write(recorded * 3), "median is 3")


def test_what_cannot_be_read_is_refused(write, recorded, tmp_path):
    assert refused(write(recorded[:, :100]), "There are 100 samples; 128 are needed")
    assert refused(
        write(time=False), "no column for 'time'; say which one it is, or pass rate"
    )
    assert read_signal(write(time=False), rate=50.0).rate == pytest.approx(50)
    back = np.arange(recorded.shape[1]) / 50
    back[4000:] -= 30
    assert refused(write(time=back), "time must increase; it goes back after row 4000")
    assert refused(write(time=np.arange(recorded.shape[1]) * 60.0), "usual step is 60")
    words = pd.DataFrame(recorded.T, columns=NAMES).astype(object)
    words.iloc[::20, 1] = "n/a"
    words.insert(0, "time", np.arange(len(words)) / 50)
    words.to_csv(tmp_path / "words.csv", index=False)
    assert refused(
        tmp_path / "words.csv", "450 of 9000 rows have something that is no number"
    )
    (tmp_path / "empty.csv").write_text("")
    assert refused(tmp_path / "empty.csv", "not a readable CSV file")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 20)
    assert refused(tmp_path / "binary.csv", "not text in UTF-8")


def test_solve_reads_a_folder_and_goes_on(write, recorded, tmp_path):
    write(name="a.csv")
    write(recorded * 3, name="b.csv")
    out = tmp_path / "out"
    words = ["solve", "movement", str(tmp_path), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "Recordings read: 1 (3.0 minutes), refused: 1" in result.output
    lines = [json.loads(line) for line in (out / "verdicts.jsonl").open()]
    assert [line["verdict"] for line in lines] == ["read", "refused"]
    found = lines[0]["movements"]
    assert {label for _, _, label in found} <= {*CLASSES}
    assert all(b[0] == pytest.approx(a[1], abs=0.02) for a, b in pairwise(found))
    assert sum(lines[0]["seconds"].values()) == pytest.approx(180, abs=3)
    assert (out / lines[0]["picture"]).stat().st_size > 3000
    page = (out / "index.html").read_text()
    assert "a.csv" in page
    assert "gravity" in page
    before = (out / "verdicts.jsonl").read_bytes()
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (out / "verdicts.jsonl").read_bytes() == before
    again = CliRunner().invoke(app, [*words, "--delay", "1"])
    assert "2 earlier verdict(s) are set aside" in again.output
    assert "delay (? → 1)" in again.output
    assert len((out / "verdicts.jsonl").read_text().splitlines()) == 4
    page = (out / "index.html").read_text()
    assert (
        f"deepseek_learn {__version__}. Model: {lines[0]['provenance']['model']}"
        in page
    )


def test_most_of_a_recording_is_read_right(write, recorded, tmp_path):
    write()
    report = solutions.load("movement").run(tmp_path, tmp_path / "out", progress=False)
    truth, hits, count = recordings()[0].label[:9000], 0, 0
    for start, stop, label in report.verdicts[0]["movements"]:
        own = truth[int(start * 50) : int(stop * 50)]
        count += (own >= 0).sum()
        hits += (own == CLASSES.index(label)).sum()
    assert hits / count > 0.9
    assert report.to_frame().loc["x.csv"].sum() == pytest.approx(180, abs=3)
    assert len(report.plot().data) == 12


def test_bad_arguments_are_named(tmp_path, write):
    load = solutions.load("movement").run
    with pytest.raises(FileNotFoundError, match=r"/nothing does not exist\."):
        load(tmp_path / "nothing", tmp_path / "out", progress=False)
    with pytest.raises(
        FileNotFoundError, match="is not a CSV file or a folder of them"
    ):
        load(tmp_path, tmp_path / "out", progress=False)
    write()
    with pytest.raises(ValueError, match="delay must be 0 or more windows, or None"):
        load(tmp_path, tmp_path / "out", progress=False, delay=-1)


@pytest.mark.parametrize(
    "names",
    [
        [f"{k} {a} ({u})" for k, u in (("Acceleration", "m/s^2"), ("Gyroscope", "rad/s"))
         for a in "xyz"],
        ["gFx", "gFy", "gFz", "wx", "wy", "wz"],
        [f"accelerometerAcceleration{a}(G)" for a in "XYZ"]
        + [f"gyroRotation{a}(rad/s)" for a in "XYZ"],
    ],
)  # fmt: skip
def test_the_columns_of_usual_apps_are_known(write, recorded, names):
    assert same(read_signal(write(names=names)), recorded) < 1e-4


def test_a_walk_alone_is_read_with_a_warning(write):
    for index, low, high in ((4, 9000, 12000), (2, 8434, 9502)):
        walk = recordings()[index].signal[:, low:high].astype(float)
        radians = read_signal(write(walk))
        assert "too little to check the gyroscope" in radians.warnings[0]
        degrees = read_signal(write(walk * np.array([[1]] * 3 + [[DEGREES]] * 3)))
        assert "must be in degrees per second" in degrees.warnings[0]
        for one, other in zip(radians.parts, degrees.parts, strict=True):
            np.testing.assert_allclose(one[1], other[1], atol=1e-4)


@pytest.mark.parametrize("signs", [(-1, -1, -1, 1, 1, 1), (-1, -1, 1, -1, -1, 1)])
def test_another_way_up_is_warned_of(write, recorded, signs):
    signal = read_signal(write(recorded * np.array(signs)[:, None]))
    assert "it is worn another way or its axes have other signs" in signal.warnings[0]
    assert not read_signal(write(recorded)).warnings


def around(axis, degrees):
    """A rotation of both sensors about an axis, `[6, 6]`."""
    i, j = (k for k in range(3) if k != axis)
    turn, angle = np.eye(3), np.radians(degrees)
    turn[[i, j, i, j], [i, j, j, i]] = (
        np.cos(angle),
        np.cos(angle),
        -np.sin(angle),
        np.sin(angle),
    )
    return np.kron(np.eye(2), turn)


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [-45, 45])
@pytest.mark.parametrize("axis", [1, 2])  # gravity shows no turn about x, the vertical
def test_every_recording_turned_by_45_degrees_is_warned_of(axis, degrees):
    for recording in recordings():
        notes = []
        turned = around(axis, degrees) @ recording.signal
        physics.warn_of_orientation([(0.0, turned)], notes)
        assert len(notes) == 1
        assert notes[0].startswith("The sensor is turned by ")


def test_how_the_training_people_wore_it_is_not_warned_of():
    """The two constants are those of the people the model was trained on."""
    upright, warned = [], []
    for recording in recordings():
        notes = []
        physics.warn_of_orientation([(0.0, recording.signal)], notes)
        if folds()[recording.person] > 1:  # the others choose or test
            windows = physics._windows(recording.signal[:3])
            moves = np.linalg.norm(windows, axis=1).std(1) > physics.MOVES
            direction = np.median(windows.mean(2)[moves], axis=0)
            upright.append(direction / np.linalg.norm(direction))
        warned.append(bool(notes))
    mean = np.mean(upright, axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), physics.UPRIGHT, atol=1e-3)
    assert len(upright) == 36
    assert sum(warned) == 2


def test_two_columns_for_one_axis_are_refused(write, recorded):
    names = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z", "accelerometer_x"]
    path = write(np.vstack([recorded, recorded[:1] * 9.81]), names=names)
    assert refused(path, "Several columns may be 'acc-x': 'acc_x', 'accelerometer_x'")
    signal = read_signal(path, columns={"acc-x": "acc_x"})
    assert same(signal, recorded) < 1e-4


def test_a_dead_or_stuck_sensor_is_not_read(write, recorded):
    dead = recorded * np.array([1, 1, 1, 1, 0, 1])[:, None]
    assert refused(write(dead), "gyro-y never changes; is the sensor dead")
    stuck = recorded.copy()
    stuck[:, 6000:] = stuck[:, 6000:6001]
    signal = read_signal(write(stuck))
    assert "repeat all six values for a second or more (3000)" in signal.warnings[0]
    assert signal.parts[0][1].shape[1] == 6000


def test_the_ends_of_the_range_and_exactly_one_window(write, recorded):
    grid = np.arange(0, 100, 1 / 20)
    slow = [np.interp(grid, np.arange(9000) / 50, row) for row in recorded]
    assert read_signal(write(slow, grid)).rate == pytest.approx(20)
    twice = np.repeat(np.arange(9000), 2)
    assert (
        "repeat a time (9000)"
        in read_signal(write(recorded[:, twice], twice / 50)).warnings[0]
    )
    one = read_signal(write(recorded[:, 3000:3128]))
    assert one.parts[0][1].shape == (6, 128)
    with pytest.raises(
        ValueError, match="rate must be from 20 to 400 per second; got 0"
    ):
        read_signal(write(time=False), rate=0.0)
    days = pd.Series(["31.03.2024 01:58:00.02"] * 9000)
    assert refused(
        write(time=days), r"time must be numbers, or dates like 2026.*got '31.03"
    )


def test_folders_and_links_that_look_like_files_do_no_harm(write, tmp_path):
    write(name="a.csv")
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "b.csv").symlink_to(tmp_path / "nothing")
    report = solutions.load("movement").run(tmp_path, tmp_path, progress=False)
    assert [row["name"] for row in report.verdicts] == ["a.csv"]
    assert (tmp_path / "index.html").exists()


def test_gravity_turns_as_the_gyroscope_says_in_all_recordings():
    slopes = []
    for recording in recordings():
        gravity, rotation = physics._slow((0.0, recording.signal))
        rate = np.gradient(gravity, axis=1) * 50
        expected = -np.cross(rotation, gravity, axis=0)
        slopes.append((rate * expected).sum() / (expected**2).sum())
    assert min(slopes) == pytest.approx(0.74, abs=0.01)  # the page states these two
    assert max(slopes) == pytest.approx(1.16, abs=0.01)
