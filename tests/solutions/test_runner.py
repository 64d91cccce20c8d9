"""All solutions have one shape: the same lines, and a digest with every option."""

import html
import inspect
import json
import shutil
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from deepseek_learn import solutions, zoo
from deepseek_learn.catalog import text
from deepseek_learn.cli import solve
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.solutions.factory.surfaces import parts
from deepseek_learn.solutions.movement.hapt import recordings
from deepseek_learn.solutions.nodules.dicom.writing import ct_datasets, write_datasets
from deepseek_learn.solutions.nodules.uncertainty import RATES, ScoreCalibration
from deepseek_learn.solutions.page import VerdictReport
from deepseek_learn.solutions.runner import IndustrySolution, Item
from deepseek_learn.solutions.verdicts import (
    SCHEMA,
    Provenance,
    RefusedError,
    problem,
    read_verdicts,
)
from tests.services import need
from tests.solutions.wind.conftest import RATED, records

NAMES = solutions.names()


class Darkness(nn.Module):
    """A detector of the factory in place of a network."""

    def __init__(self, tiles):
        super().__init__()
        self.mean = nn.Parameter(tiles.mean())

    def forward(self, x):
        return (x[:, 0] - self.mean).abs()


class Brightness(Darkness):
    """Another one."""


class Nothing(nn.Module):
    """A detector of nodules that finds none."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(-9.0))

    def forward(self, x):
        return (
            torch.zeros_like(nn.functional.avg_pool3d(x, 2)).repeat(1, 5, 1, 1, 1)
            + self.bias
        )


# What each option may be besides its default, on the folders below: (value, what it needs).
# A new option fails the test until it has a line here.
OTHERS = {
    "factory": {
        "good": "other good",
        "rate": 0.3,
        "tile": 32,
        "overlap": 4,
        "seed": 1,
        "fit": Brightness,
    },
    "mail": {"words": False, "reference": 60},
    "movement": {"delay": 1, "columns": {"acc-x": "other"}, "rate": 100.0},
    "nodules": {"rate": 1.0, "gaps": "interpolate", "tilt": "resample"},
    "reviews": {"column": "other", "words": False, "find": "早餐"},
    "wind": {
        "healthy_until": "2020-04-25",
        "columns": {"power": "kw"},
        "rated_kw": RATED,
        "steps": 3,
        "seed": 1,
    },
}
BASE = {
    "factory": {"tile": 64, "overlap": 8, "fit": Darkness},
    "wind": {"healthy_until": "2020-04-20", "steps": 2},
}


def image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * pixels).round().astype("uint8")).save(path)


def factory(folder: Path) -> None:
    images = parts("cast", 100, size=64, seed=1).images
    for i, each in enumerate(images[:60]):
        image(folder / "good" / f"{i}.png", each)
    for i, each in enumerate(images[60:99]):
        image(folder.parent / "other good" / f"{i}.png", each)
    image(folder / "a.png", images[99])
    (folder / "b.png").write_text("no image")


def mail(folder: Path) -> None:
    (folder / "a.eml").write_text(
        "Subject: dinner\n\nShall we meet on Friday at eight?\n"
    )
    (folder / "b.eml").write_bytes(b"\x89PNG\r\n" + bytes(50))


def movement(folder: Path) -> None:
    names = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
    table = pd.DataFrame(recordings()[0].signal[:, :9000].T, columns=names)
    table["other"] = table["acc_x"]
    table.insert(0, "time", np.arange(len(table)) / 50)
    table.to_csv(folder / "a.csv", index=False)
    (folder / "b.csv").write_text("")


def nodules(folder: Path) -> None:
    hu = np.full((120, 100, 140), -1000, "float32")
    hu[:, 10:90, 10:130] = 40
    hu[15:105, 20:80, 20:65] = hu[15:105, 20:80, 75:120] = -850
    datasets = ct_datasets(hu, (1, 1, 1), (-70, -50, 200))
    write_datasets(datasets, folder / "a")
    (folder / "b").mkdir()
    (folder / "b" / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05" * 5)


def reviews(folder: Path) -> None:
    rows = "review,other\n房间干净，早餐丰富,送货太慢，质量差\n。,。\n"
    (folder / "a.csv").write_text(rows, encoding="utf-8")


def wind(folder: Path) -> None:
    frame = records()
    still = (frame["turbine"] == "T3") & (frame["time"] >= "2020-04-15")
    frame.loc[still, "power"] = -5.0
    frame["kw"] = frame["power"] * 0.99
    frame.to_csv(folder / "scada.csv", index=False)


def solve_with(name, folder, out, **options):
    """Run a solution, the nodules' with a detector that finds none."""
    solution = solutions.load(name)
    options = BASE.get(name, {}) | options
    if name == "nodules":
        from deepseek_learn.solutions.nodules.solution import CalibratedDetector

        thresholds = dict(zip(RATES, range(1, 9), strict=True))
        detector = CalibratedDetector(
            Nothing().eval(), ScoreCalibration(1.0, 0.0, 1.3, thresholds)
        )

        class Screening(type(solution)):
            def learn(self, folder, progress):
                return detector

        solution = Screening()
    return solution.run(folder, out, progress=False, **options)


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """A solution, a folder with items that it judges and refuses, and a finished run."""
    name = request.param
    if name in ("mail", "reviews"):
        need("tokenizers")
    path = tmp_path_factory.mktemp(name) / "in"
    path.mkdir()
    globals()[name](path)
    return name, path, solve_with(name, path, path.parent / "out")


@pytest.fixture
def run(finished, tmp_path):
    """Run the solution again, in a copy of the finished folder."""
    name, folder, report = finished
    out = shutil.copytree(folder.parent / "out", tmp_path / "out")

    def again(**options):
        return solve_with(name, folder, out, **options)

    again.name, again.out, again.first = name, out, report
    return again


all_six = pytest.mark.parametrize("finished", NAMES, indirect=True)


@pytest.mark.slow
@all_six
def test_lines_follow_the_schema_and_one_word_says_that_an_item_is_refused(run):
    lines = [json.loads(line) for line in (run.out / "verdicts.jsonl").open()]
    assert lines == run.first.verdicts
    for line in lines:
        assert problem(line) is None
        assert [*line][:3] == ["name", "sha256", "verdict"]
        assert [*line][-1] == "provenance"
        assert line["provenance"]["schema"] == SCHEMA
        assert line["verdict"] in run.first.order
        assert ("reason" in line) == (line["verdict"] == "refused")
    verdicts = [line["verdict"] for line in lines]
    assert 1 <= verdicts.count("refused") < len(verdicts)


@pytest.mark.slow
@all_six
def test_pages_have_the_same_parts(run):
    page = (run.out / "index.html").read_text(encoding="utf-8")
    verdicts = [line["verdict"] for line in run.first.verdicts]
    assert page.count("<section>") == len(verdicts)
    assert page.count('<strong class="refused">') == verdicts.count("refused")
    for key in ("title", "not_for"):
        assert html.escape(text(f"{run.name}.{key}")) in page
    for name in ("version", "model"):
        assert run.first.verdicts[0]["provenance"][name] in page


@pytest.mark.slow
@all_six
def test_nothing_is_judged_twice(run):
    before = (run.out / "verdicts.jsonl").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run().verdicts == run.first.verdicts
    assert (run.out / "verdicts.jsonl").read_bytes() == before


def options():
    """(solution, option) of all options, from the signatures."""
    for name in NAMES:
        solution = type(solutions.load(name))
        for option in inspect.signature(solution).parameters:
            yield pytest.param(name, option, id=f"{name}-{option}")


@pytest.mark.slow
@pytest.mark.parametrize(("finished", "option"), [*options()], indirect=["finished"])
def test_another_option_on_an_old_folder_judges_anew(finished, run, option):
    other = OTHERS[run.name][option]
    if option == "good":
        other = finished[1].parent / other
    first = run.first.verdicts
    if option in solutions.load(run.name).DISPLAY:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert run(**{option: other}).verdicts == first
        assert len(read_verdicts(run.out / "verdicts.jsonl")) == len(first)
        return
    with pytest.warns(UserWarning, match=f"{len(first)} earlier .* are set aside"):
        second = run(**{option: other}).verdicts
    lines = read_verdicts(run.out / "verdicts.jsonl")
    assert lines == first + second
    assert first[0]["provenance"] != second[0]["provenance"]


@pytest.mark.slow
@all_six
def test_lines_of_an_earlier_version_are_set_aside(run):
    """As they were before they had a schema: other words, and some without a checksum."""
    words = {"factory": "unreadable", "wind": "unjudged"}
    stamp = Provenance("abc", {}).to_dict() | {"date": "2026-11-30"}
    del stamp["schema"]
    old = {"name": "a", "verdict": words.get(run.name, "refused"), "provenance": stamp}
    old |= {} if run.name == "wind" else {"sha256": "b"}
    (run.out / "verdicts.jsonl").write_text(json.dumps(old) + "\n")
    with pytest.warns(UserWarning, match=rf"1 earlier .*: schema \(\? → {SCHEMA}\)"):
        report = run()
    assert old not in report.verdicts
    assert read_verdicts(run.out / "verdicts.jsonl")[0] == old


def test_the_command_offers_the_options():
    """All of them, except for those that need Python."""
    in_python = {
        "factory": {"good", "tile", "overlap", "seed", "fit"},
        "wind": {"seed"},
    }
    spelled = {"columns": "column"}
    for name in NAMES:
        known = {field.name for field in fields(solutions.load(name))}
        known -= in_python.get(name, set())
        offered = {*inspect.signature(getattr(solve, name)).parameters}
        expected = {spelled.get(o, o) if name != "reviews" else o for o in known}
        assert offered == expected | {"folder", "out"}


def test_an_unknown_option_is_one_sentence(tmp_path):
    with pytest.raises(
        UnknownNameError, match="option of the solution 'mail' 'word' is not"
    ):
        solutions.load("mail").run(tmp_path, tmp_path / "out", word=False)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ({"verdict": "refused"}, "reason must be text"),
        (
            {"verdict": "good", "reason": "too dark"},
            "has a reason, but was not refused",
        ),
        ({"verdict": "good", "sha256": 3}, "sha256 must be text"),
        ({"verdict": "good", "warnings": "dark"}, "warnings must be a list"),
    ],
)
def test_a_line_that_does_not_follow_the_schema_is_not_one(line, wrong):
    whole = Provenance("abc", {}).stamp({"name": "a", "sha256": "b"} | line)
    assert wrong in problem(whole)


class Numbers(IndustrySolution):
    """Judges the numbers in a text file, several at once."""

    name = "factory"
    BATCH = 3

    def sources(self, folder, out):
        return [folder]

    def learn(self, folder, progress):
        return max

    def items(self, source, model):
        for line in source.read_text().splitlines():
            yield Item(line, line, line)

    def read(self, item):
        if not item.content.isdigit():
            raise RefusedError("It is no number.", length=len(item.content))
        return int(item.content)

    def predict(self, items, model):
        assert len(items) <= self.BATCH
        return [item.content % 2 for item in items]

    def judge(self, item, model, out):
        if item.content > 99:
            raise RefusedError("It is too large.")
        return {"verdict": "defective" if item.prediction else "good"}

    def report(self, verdicts, model):
        return Numbered(verdicts)


class Numbered(VerdictReport):
    """Its report."""

    name, order = "factory", ("refused", "defective", "good")

    def why(self):
        return "Numbers."


def test_items_are_refused_one_by_one_in_a_batch(tmp_path):
    (tmp_path / "in.txt").write_text("1\nx\n2\n200\n3\nyy\nz\n4")
    report = Numbers().run(tmp_path / "in.txt", tmp_path / "out", progress=False)
    words = {row["name"]: row.get("reason", row["verdict"]) for row in report.verdicts}
    no = "It is no number."
    assert words == {
        "1": "defective", "x": no, "2": "good", "200": "It is too large.",
        "3": "defective", "yy": no, "z": no, "4": "good",
    }  # fmt: skip
    assert report.verdicts[5]["length"] == 2
    (tmp_path / "in.txt").write_text("1\n5")
    again = Numbers().run(tmp_path / "in.txt", tmp_path / "out", progress=False)
    assert [row["name"] for row in again.verdicts] == ["1", "5"]  # what is there now
    assert len(read_verdicts(tmp_path / "out" / "verdicts.jsonl")) == 9


def test_learning_is_not_begun_without_something_to_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda *_: pytest.fail("it was loaded"))
    for name in ("mail", "movement", "nodules", "reviews"):
        with pytest.raises((FileNotFoundError, ValueError)):
            solutions.load(name).run(tmp_path, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
