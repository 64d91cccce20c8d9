"""A detector on files in LUNA16's format, as the challenge judges it."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deepseek_learn.solutions.nodules import challenge as module
from deepseek_learn.solutions.nodules.challenge import challenge
from deepseek_learn.solutions.nodules.measure import froc

from .test_screening import Bright, body

SPOTS = {"1.2": [(60, 50, 40), (40, 40, 100)], "1.3": [(80, 60, 50)], "1.4": []}
ORIGIN = (-70.0, -50.0, 200.0)  # x, y, z


@pytest.fixture
def download(tmp_path):
    rows = []
    for number, (uid, spots) in enumerate(SPOTS.items()):
        folder = tmp_path / "scans" / f"subset{number}"
        folder.mkdir(parents=True)
        (folder / f"{uid}.raw").write_bytes(body(spots).astype("<i2").tobytes())
        (folder / f"{uid}.mhd").write_text(
            "NDims = 3\nDimSize = 140 100 120\nElementType = MET_SHORT\n"
            "ElementSpacing = 1 1 1\nOffset = -70 -50 200\n"
            f"ElementDataFile = {uid}.raw\n"
        )
        rows += [[uid, *np.add(ORIGIN, spot[::-1]), 8.0] for spot in spots]
    scripts = tmp_path / "evaluationScript" / "annotations"
    scripts.mkdir(parents=True)
    (scripts / "seriesuids.csv").write_text("\n".join(SPOTS) + "\n")
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    table = pd.DataFrame(rows, columns=columns)
    table.iloc[:2].to_csv(scripts / "annotations.csv", index=False)
    table.iloc[2:].to_csv(scripts / "annotations_excluded.csv", index=False)
    return tmp_path


def test_all_scans_are_marked_and_judged(download, monkeypatch):
    folders = (download / "scans", download / "evaluationScript", download / "out")
    judged = challenge(Bright().eval(), *folders, progress=False)
    assert judged.nodules.tolist() == [2, 0, 0]
    assert froc(judged).at(8) == 1
    assert len(judged.hits) == 2  # the mark on the excluded finding counts neither way
    candidates = pd.read_csv(download / "out" / "candidates.csv")
    assert len(candidates) == 3
    # a second run takes what is there
    monkeypatch.setattr(module, "find", lambda *_, **__: pytest.fail("marked twice"))
    again = challenge(Bright().eval(), *folders, progress=False)
    np.testing.assert_array_equal(again.scores, judged.scores)
    # and never what another model marked
    monkeypatch.setattr(module, "find", lambda *_, **__: [])
    other = Bright().eval()
    with torch.no_grad():
        other.scale += 1
    with pytest.warns(UserWarning, match=r"3 earlier .* model \("):
        last = challenge(other, *folders, progress=False)
    assert len(last.scores) == 0


def test_a_scan_without_lungs_gets_no_marks(download):
    hu = np.full((120, 100, 140), 40, "<i2")
    (download / "scans" / "subset0" / "1.2.raw").write_bytes(hu.tobytes())
    folders = (download / "scans", download / "evaluationScript", download / "out")
    with pytest.warns(UserWarning, match=r"1\.2\.mhd: The scan shows no lungs"):
        judged = challenge(Bright().eval(), *folders, progress=False)
    assert np.isnan(judged.best).all()


def test_missing_files_are_named_before_the_run(download):
    (download / "scans" / "subset1" / "1.3.mhd").unlink()
    folders = (download / "scans", download / "evaluationScript", download / "out")
    with pytest.raises(
        FileNotFoundError, match=r"lacks 1 of the 3 scans, such as 1\.3"
    ):
        challenge(nn.Identity(), *folders)
    with pytest.raises(FileNotFoundError, match=r"contains no seriesuids\.csv"):
        challenge(nn.Identity(), folders[0], folders[0], folders[2])
    assert not folders[2].exists()
