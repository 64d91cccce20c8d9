"""Files in LUNA16's formats are read exactly, and malformed ones are refused."""

import zlib

import numpy as np
import pandas as pd
import pytest

from deepseek_learn.solutions.nodules import luna16
from deepseek_learn.solutions.nodules.dicom import SeriesError
from deepseek_learn.solutions.nodules.finding import Finding

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = {compressed}
TransformMatrix = {matrix}
Offset = -195 -180.5 -378
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.76 0.76 1.25
DimSize = 5 4 3
ElementType = {kind}
ElementDataFile = {data}
"""


def write(folder, values, compressed=False, matrix="1 0 0 0 1 0 0 0 1", **changes):
    big = values.dtype.str[0] == ">"
    kind = {"i2": "MET_SHORT", "f4": "MET_FLOAT"}[values.dtype.str[1:]]
    name = "1.3.6.zraw" if compressed else "1.3.6.raw"
    fields = {"msb": big, "compressed": compressed, "kind": kind, "data": name}
    text = HEADER.format(matrix=matrix, **fields)
    for old, new in changes.items():
        lines = text.splitlines()
        text = "\n".join(new if line.startswith(f"{old} ") else line for line in lines)
    (folder / "1.3.6.mhd").write_text(text)
    content = values.tobytes()
    (folder / name).write_bytes(zlib.compress(content) if compressed else content)
    return folder / "1.3.6.mhd"


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<f4"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_scan_is_read_exactly(tmp_path, kind, compressed):
    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5)).astype(kind)
    volume = luna16.read_scan(write(tmp_path, hu, compressed))
    np.testing.assert_array_equal(volume.hu, hu.astype("float32"))
    assert volume.spacing_mm == (1.25, 0.76, 0.76)
    np.testing.assert_allclose(
        volume.to_mm(np.array([2, 1, 3])), [-195 + 3 * 0.76, -180.5 + 0.76, -375.5]
    )
    assert volume.series_uid == "1.3.6"


def test_a_flipped_scan_keeps_its_coordinates(tmp_path):
    hu = np.zeros((3, 4, 5), "<i2")
    path = write(tmp_path, hu, matrix="-1 0 0 0 -1 0 0 0 1")
    point = luna16.read_scan(path).to_mm(np.array([0, 0, 4]))
    np.testing.assert_allclose(point, [-195 - 4 * 0.76, -180.5, -378])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DimSize": "DimSize = 5 4"}, "DimSize must be 3 numbers"),
        (
            {"ElementSpacing": "ElementSpacing = 0.076 0.076 0.125"},
            r"ElementSpacing must be from 0\.095 to 3 mm .* got \[0\.076, 0\.076\]",
        ),
        ({"DimSize": "DimSize = 5 4 4"}, "states 160"),
        ({"DimSize": "DimSize = 5 4 -3"}, "must be positive"),
        ({"ElementSpacing": "ElementSpacing = 0.7 x 1"}, "ElementSpacing must be 3"),
        ({"ElementSpacing": "ElementSpacing = 0 0 1"}, "must be positive"),
        ({"TransformMatrix": "TransformMatrix = 1 0 0 0 2 0 0 0 1"}, "not a rotation"),
        ({"ElementType": "ElementType = MET_ULONG_LONG"}, "MET_SHORT"),
        ({"NDims": "NDims = 4"}, "three-dimensional"),
        ({"ElementDataFile": "ElementDataFile = LOCAL"}, "file of their own"),
        ({"NDims": ""}, "NDims is missing"),
    ],
)
def test_a_malformed_header_is_refused(tmp_path, changes, message):
    path = write(tmp_path, np.zeros((3, 4, 5), "<i2"), **changes)
    with pytest.raises(SeriesError, match=message):
        luna16.read_scan(path)


def test_missing_and_damaged_data_are_refused(tmp_path):
    path = write(tmp_path, np.zeros((3, 4, 5), "<i2"), compressed=True)
    (tmp_path / "1.3.6.zraw").write_bytes(b"not zlib")
    with pytest.raises(SeriesError, match="is damaged"):
        luna16.read_scan(path)
    (tmp_path / "1.3.6.zraw").unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        luna16.read_scan(path)


def test_annotations_and_candidates(tmp_path):
    path = tmp_path / "annotations.csv"
    path.write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
        "1.2.3,-128.69,-175.31,-298.38,5.65\n1.2.3,103.78,-211.92,-227.12,4.22\n"
        "1.2.4,1,2,3,-1\n"
    )
    found = luna16.annotations(path)
    np.testing.assert_allclose(found["1.2.3"][0], [-298.38, -175.31, -128.69, 5.65])
    assert found["1.2.4"][0, 3] == -1
    findings = {"1.2.3": [Finding((1.5, 2.5, 3.5), 6.0, 0.25)], "1.2.4": []}
    luna16.write_candidates(tmp_path / "c.csv", findings)
    table = pd.read_csv(tmp_path / "c.csv")
    assert [*table.columns] == [
        "seriesuid",
        "coordX",
        "coordY",
        "coordZ",
        "probability",
    ]
    assert table.iloc[0, 1:].tolist() == [1.5, 2.5, 3.5, 0.25]
    np.testing.assert_allclose(luna16.marks(findings["1.2.3"]), [[0.25, 3.5, 2.5, 1.5]])
    assert luna16.marks([]).shape == (0, 4)


def test_malformed_tables_are_refused(tmp_path):
    path = tmp_path / "annotations.csv"
    path.write_text("seriesuid,coordX,coordY,diameter_mm\n1,2,3,4\n")
    with pytest.raises(ValueError, match="no column 'coordZ'"):
        luna16.annotations(path)
    path.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1,2,3,x,4\n")
    with pytest.raises(ValueError, match="row 2: coordZ is not a number: 'x'"):
        luna16.annotations(path)
    uids = tmp_path / "seriesuids.csv"
    uids.write_text("seriesuid\n1.2\n1.3\n")
    assert luna16.series_uids(uids) == ["1.2", "1.3"]
    uids.write_text("1.2\n1.2\n")
    with pytest.raises(ValueError, match="each once"):
        luna16.series_uids(uids)
