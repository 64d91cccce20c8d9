"""A scan goes to a picture archive (Orthanc) and back, and so do the findings."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.solutions.nodules.finding import ball
from deepseek_learn.solutions.nodules.volume import Volume
from tests.services import absent, need
from tests.solutions.nodules.dicom.traps import phantom

pytestmark = pytest.mark.service
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    need("pynetdicom")
    need("dicomweb_client")
    if not shutil.which("Orthanc") or not PLUGIN.exists():
        absent("Orthanc with its DICOMweb plugin is not installed")
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        absent("a network namespace of its own is not allowed here")
    command = [sys.executable, "-m", f"{__package__}.archive"]
    command.append(str(tmp_path_factory.mktemp("archive")))
    done = subprocess.run([*ALONE, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("Explicit VR Little Endian", "1.2.840.10008.1.2.1"),
        ("RLE Lossless", "1.2.840.10008.1.2.5"),
        ("JPEG-LS Lossless Image Compression", "1.2.840.10008.1.2.4.80"),
    ],
)
def test_a_scan_comes_back_bit_for_bit(answer, name, syntax):
    assert answer[name] == {"statuses": [0], "syntax": syntax, "exact": True}


def test_findings_are_in_the_study_and_can_be_read_again(answer):
    from tests.solutions.nodules.dicom.archive import FINDINGS

    assert answer["modalities"] == ["CT", "SEG", "SR"]
    axes = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    volume = Volume(phantom(), (1.25, 0.7, 0.7), (-120.0, -110.0, -300.0), axes, "1.2")
    voxels = [int(ball(volume, each).sum()) for each in FINDINGS]
    assert answer["findings"]["voxels"] == voxels
    first, second = answer["findings"]["measurements"]
    assert first["Diameter"] == 6.0
    assert first["Probability"] == 0.93
    assert first["lower end of the diameter's interval"] == 5.0
    assert second == {"Diameter": 4.0, "Probability": 0.5}


def test_what_is_found_in_a_retrieved_scan_is_stored_with_it(answer):
    from tests.solutions.nodules.dicom.archive import SPOTS

    detected = answer["detected"]
    assert detected["modalities"] == ["CT", "SEG", "SR"]
    expected = sorted([x - 70, y - 50, z + 200] for z, y, x in SPOTS)
    np.testing.assert_allclose(sorted(detected["centers"]), expected, atol=1.5)
    assert all(count > 100 for count in detected["findings"]["voxels"])
    assert all(m["Diameter"] > 5 for m in detected["findings"]["measurements"])
