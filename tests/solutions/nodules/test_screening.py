"""A folder of scans becomes verdicts, DICOM objects, pictures and a page."""

import json
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import highdicom as hd
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from deepseek_learn import __version__, cli, solutions
from deepseek_learn.catalog import text
from deepseek_learn.solutions.nodules import solution
from deepseek_learn.solutions.nodules.dicom.writing import ct_datasets, write_datasets
from deepseek_learn.solutions.nodules.solution import (
    CalibratedDetector,
    NoduleScreening,
)
from deepseek_learn.solutions.nodules.uncertainty import RATES, ScoreCalibration
from deepseek_learn.solutions.verdicts import checksum
from tests.solutions.nodules.dicom.traps import save, series
from tests.solutions.nodules.dicom.traps.geometry import leaning, tilted

CALIBRATION = ScoreCalibration(1.0, 0.0, 1.3, dict.fromkeys(RATES, 0.5))


class Bright(nn.Module):
    """Takes dense spots of about 8 mm in air for nodules."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(40.0))

    def forward(self, x):
        small = nn.functional.avg_pool3d(x, 2)
        near = nn.functional.avg_pool3d(small, 3, stride=1, padding=1)
        wide = nn.functional.avg_pool3d(small, 11, stride=1, padding=5)
        logit = self.scale * (near - wide) - 16
        return torch.cat([logit, *[torch.zeros_like(logit)] * 4], 1)


def body(spots=()):
    """A box of tissue with two lungs of air, and spots of 8 mm, `[120, 100, 140]`."""
    hu = np.full((120, 100, 140), -1000, "float32")
    hu[:, 10:90, 10:130] = 40
    hu[15:105, 20:80, 20:65] = hu[15:105, 20:80, 75:120] = -850
    z, y, x = np.ogrid[:120, :100, :140]
    for cz, cy, cx in spots:
        hu[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 16] = 30
    return hu


def screen(detector, folder, out, **options):
    """Run the solution with another detector."""

    class Screening(NoduleScreening):
        def learn(self, folder, progress):
            return detector

    return Screening().run(folder, out, **{"progress": False} | options)


def write(folder, hu, origin=(-70.0, -50.0, 200.0), **options):
    return write_datasets(ct_datasets(hu, (1, 1, 1), origin, **options), folder)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write(folder / "with", body([(60, 50, 40), (40, 40, 100)]))
    write(folder / "without", body())
    save(series()[:2], folder / "short")
    return folder


@pytest.fixture(scope="module")
def detector():
    return CalibratedDetector(Bright().eval(), CALIBRATION)


@pytest.fixture(scope="module")
def result(scans, detector, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return screen(detector, scans, out, progress=False), out


def by_name(result):
    return {v["name"].split(" ")[0]: v for v in result.verdicts}


def test_findings_are_where_the_nodules_are(result):
    screening, _ = result
    verdicts = by_name(screening)
    assert {n: v["verdict"] for n, v in verdicts.items()} == {
        "with": "suspicious",
        "without": "clear",
        "short": "refused",
    }
    centers = sorted(f["center_mm"] for f in verdicts["with"]["findings"])
    expected = [[40 - 70, 50 - 50, 60 + 200], [100 - 70, 40 - 50, 40 + 200]]
    np.testing.assert_allclose(centers, expected, atol=1.5)
    assert "at least 3" in verdicts["short"]["reason"]


def test_every_file_is_there(result):
    screening, out = result
    lines = [json.loads(s) for s in (out / "verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    found = by_name(screening)["with"]
    seg, sr = (out / name for name in found["dicom"])
    assert len(hd.seg.segread(seg).SegmentSequence) == 2
    groups = hd.sr.srread(sr).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for finding in found["findings"]:
        picture = np.asarray(Image.open(out / finding["picture"]).convert("L"))
        assert picture.shape == (240, 720)
        for part in np.split(picture, 3, axis=1):  # a bright spot in the middle
            assert part[110:130, 110:130].mean() > 150
            assert part[110:130, 75:85].mean() < 120
    assert len(by_name(screening)["without"]["dicom"]) == 1


class Page(HTMLParser):
    """Collects the words and the images of a page."""

    def __init__(self):
        super().__init__()
        self.words, self.images = "", []

    def handle_data(self, data):
        self.words += data

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])


def test_the_page_says_that_it_is_no_diagnosis(result):
    screening, out = result
    page = Page()
    page.feed((out / "index.html").read_text())
    assert text("nodules.not_for") in page.words
    assert len(page.images) == 2
    assert all((out / source).exists() for source in page.images)
    assert "at least 3" in page.words
    assert len(screening.to_frame()) == 4
    assert "suspicious: 1" in screening.why()
    assert len(screening.plot().data[0].x) == 2


def test_a_second_run_judges_nothing_twice(scans, detector, result):
    _, out = result
    before = (out / "verdicts.jsonl").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        screen(
            CalibratedDetector(Bright().eval(), CALIBRATION), scans, out, progress=False
        )
    assert (out / "verdicts.jsonl").read_bytes() == before


def test_every_option_and_the_detector_judge_again(tmp_path, detector):
    ball = np.pad(leaning(15), ((0, 0), (8, 8), (8, 8)), constant_values=-1000)
    save(series(ball, **tilted(15)), tmp_path / "in")
    reasons = {
        "refuse": "tilted by 15.0 degrees",
        "resample": "shows no lungs",  # it was read
    }
    for tilt in ("refuse", "resample", "refuse"):
        with warnings.catch_warnings(record=True):
            done = screen(
                detector, tmp_path / "in", tmp_path / "o", tilt=tilt, progress=False
            )
        assert reasons[tilt] in done.verdicts[0]["reason"]
    base = {"rate": 0.8, "gaps": "refuse", "tilt": "refuse"}
    others = [base | {"gaps": "interpolate"}, base | {"tilt": "resample"}]
    others += [base | {"rate": 1.0}]
    stronger, calibrated = Bright().eval(), replace(CALIBRATION, slope=1.5)
    with torch.no_grad():
        stronger.scale += 1
    detectors = [
        CalibratedDetector(stronger, CALIBRATION),
        CalibratedDetector(detector.model, calibrated),
    ]
    cases = [(each, detector) for each in (base, *others)]
    cases += [(base, each) for each in detectors]
    stamps = [NoduleScreening(**own).provenance(d).to_dict() for own, d in cases]
    assert all(a != b for a, b in combinations(stamps, 2))
    page = (tmp_path / "o" / "index.html").read_text()
    assert checksum(detector.model) in page
    assert f"deepseek_learn {__version__}" in page


def test_a_damaged_file_that_is_gone_no_longer_refuses_its_neighbors(
    tmp_path, detector
):
    write(tmp_path / "in", body([(60, 50, 40)]))
    (tmp_path / "in" / "bad.dcm").write_bytes(
        bytes(128) + b"DICM" + b"\x08\x00\x05" * 5
    )
    for verdict in ("refused", "suspicious"):
        done = screen(detector, tmp_path / "in", tmp_path / "out", progress=False)
        assert [v["verdict"] for v in done.verdicts] == [verdict]
        (tmp_path / "in" / "bad.dcm").unlink(missing_ok=True)


def test_a_data_file_of_any_name_belongs_to_a_scan(tmp_path, detector):
    (tmp_path / "1.mhd").write_text(
        "NDims = 3\nDimSize = 140 100 120\nElementType = MET_SHORT\n"
        "ElementSpacing = 1 1 1\nOffset = -70 -50 200\nElementDataFile = data.bin\n"
    )
    hu = body([(60, 50, 40)]).astype("<i2")
    for content, verdict in (
        (None, "refused"),
        (hu.tobytes(), "suspicious"),
        (body().astype("<i2").tobytes(), "clear"),
    ):
        if content:
            (tmp_path / "data.bin").write_bytes(content)
        done = screen(detector, tmp_path / "1.mhd", tmp_path / "out", progress=False)
        assert [v["verdict"] for v in done.verdicts] == [verdict]


def test_findings_of_an_earlier_verdict_do_not_stay(tmp_path, detector):
    write(tmp_path / "in", body([(60, 50, 40)]))
    first = screen(detector, tmp_path / "in", tmp_path / "out", progress=False)
    assert [v["verdict"] for v in first.verdicts] == ["suspicious"]
    blind = ScoreCalibration(1.0, 0.0, 1.3, dict.fromkeys(RATES, 1.1))
    with pytest.warns(UserWarning, match=r"1 earlier .* threshold \(0\.5 → 1\.1\)"):
        last = screen(
            CalibratedDetector(detector.model, blind),
            tmp_path / "in",
            tmp_path / "out",
            progress=False,
        )
    assert [v["verdict"] for v in last.verdicts] == ["clear"]
    assert not [*(tmp_path / "out").rglob("*.png")]


def test_a_single_series_and_a_metaimage(tmp_path, detector):
    write(tmp_path / "one", body([(60, 50, 40)]))
    one = screen(detector, tmp_path / "one", tmp_path / "a", progress=False)
    assert [v["name"] for v in one.verdicts] == ["one"]
    hu = body([(60, 50, 40)]).astype("<i2")
    (tmp_path / "mhd").mkdir()
    (tmp_path / "mhd" / "1.2.raw").write_bytes(hu.tobytes())
    (tmp_path / "mhd" / "1.2.mhd").write_text(
        "NDims = 3\nDimSize = 140 100 120\nElementType = MET_SHORT\n"
        "ElementSpacing = 1 1 1\nOffset = -70 -50 200\nElementDataFile = 1.2.raw\n"
    )
    other = screen(detector, tmp_path / "mhd", tmp_path / "b", progress=False)
    assert "dicom" not in other.verdicts[0]
    ours, theirs = (r.verdicts[0]["findings"][0]["center_mm"] for r in (one, other))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_scan_that_cannot_be_used_does_not_end_the_run(tmp_path, detector):
    write(tmp_path / "in" / "good", body([(60, 50, 40)]))
    datasets = ct_datasets(body([(60, 50, 40)]), (1, 1, 1), (-70, -50, 200))
    for each in datasets:
        del each.StudyInstanceUID  # what is written must refer to a study
    save(datasets, tmp_path / "in" / "no study")
    damaged = tmp_path / "in" / "damaged"
    damaged.mkdir()
    for name in ("a.dcm", "b.dcm"):
        (damaged / name).write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05" * 5)
    (tmp_path / "in" / "lost.mhd").write_text(
        "NDims = 3\nDimSize = 140 100 120\nElementType = MET_SHORT\n"
        "ElementSpacing = 1 1 1\nOffset = 0 0 0\nElementDataFile = lost.raw\n"
    )
    result = screen(detector, tmp_path / "in", tmp_path / "out", progress=False)
    verdicts = {v["name"]: v for v in result.verdicts}
    refused = {"no study", "damaged", "lost.mhd"}
    assert {n: v["verdict"] for n, v in verdicts.items()} == {
        "good": "suspicious"
    } | dict.fromkeys(refused, "refused")
    assert "StudyInstanceUID" in verdicts["no study"]["reason"]
    assert "a.dcm" in verdicts["damaged"]["reason"]
    assert "lost.raw" in verdicts["lost.mhd"]["reason"]


def test_bad_input_gets_a_sentence(tmp_path, scans, detector):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        screen(detector, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains no CT scan"):
        screen(detector, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="out must not contain the scans"):
        screen(detector, scans / "with", scans)
    with pytest.raises(ValueError, match="rate must be one of"):
        screen(detector, scans, tmp_path / "out", rate=0.3)
    with pytest.raises(ValueError, match="gaps must be"):
        screen(detector, scans, tmp_path / "out", gaps="fill", progress=False)


def test_the_solution_and_its_command(tmp_path, scans, detector, monkeypatch):
    monkeypatch.setattr(solution, "pretrained", lambda: detector)
    result = solutions.load("nodules").run(
        scans, tmp_path / "a", progress=False, rate=1.0
    )
    assert result.rate == 1.0
    words = [
        "solve",
        "nodules",
        str(scans),
        "--out",
        str(tmp_path / "b"),
        "--rate",
        "0.8",
    ]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert text("nodules.not_for") in done.output
    assert (tmp_path / "b" / "index.html").exists()
    shown = CliRunner().invoke(cli.app, ["solve", "nodules", "--help"])
    assert "Not for diagnosis" in shown.output
    assert "nodules" in solutions.names()
