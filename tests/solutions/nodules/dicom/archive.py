"""A round trip through Orthanc, in a process of its own: prints what came back as JSON.

    python archive.py FOLDER

Orthanc listens on every address of the machine, so the test runs this in a network
namespace that has nothing but the loopback interface.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from deepseek_learn.solutions.nodules.detector import find
from deepseek_learn.solutions.nodules.dicom import load_series
from deepseek_learn.solutions.nodules.dicom.export import write_findings
from deepseek_learn.solutions.nodules.dicom.writing import ct_datasets
from deepseek_learn.solutions.nodules.finding import Finding
from deepseek_learn.solutions.nodules.volume import Volume
from tests.solutions.nodules.dicom.traps import phantom, series
from tests.solutions.nodules.test_screening import Bright, body

PORT, WEB = 4242, 8042
SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless)
FINDINGS = [
    Finding((-112.0, -95.0, -285.0), 6.0, 0.93, (5.0, 7.5)),
    Finding((-105.0, -90.0, -280.0), 4.0, 0.5),
]
SPOTS = [(60, 50, 40), (40, 40, 100)]  # the nodules of the scan that is judged


@contextmanager
def orthanc(folder: Path):
    """Start the archive, wait until it answers, and stop it."""
    settings = {
        "Name": "TEST",
        "DicomAet": "TEST",
        "DicomPort": PORT,
        "HttpPort": WEB,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen(
            [shutil.which("Orthanc"), path], stdout=log, stderr=log
        )
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{WEB}/system", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        else:
            raise TimeoutError((folder / "orthanc.log").read_text()[-2000:])
        yield
    finally:
        process.terminate()
        process.wait(20)


def store(datasets) -> set[int]:
    """Send datasets by C-STORE and return the statuses of the answers."""
    entity = AE("LEARNER")
    for syntax in SYNTAXES:
        entity.add_requested_context(CTImageStorage, syntax)
    association = entity.associate("127.0.0.1", PORT, ae_title="TEST")
    statuses = {association.send_c_store(each).Status for each in datasets}
    association.release()
    return statuses


def main(folder: Path) -> dict:
    hu, answer = phantom(), {}
    with orthanc(folder):
        web = DICOMwebClient(f"http://127.0.0.1:{WEB}/dicom-web")
        for number, syntax in enumerate(SYNTAXES):
            datasets = series(uid_seed=f"archive {number}")
            for each in datasets:
                if syntax != ExplicitVRLittleEndian:
                    each.compress(syntax, generate_instance_uid=False)
            np.random.default_rng(0).shuffle(datasets)
            statuses = store(datasets)
            syntax_found = retrieve(web, datasets[0], folder / str(number))
            volume = load_series(folder / str(number))
            answer[syntax.name] = {
                "statuses": sorted(statuses),
                "syntax": syntax_found,
                "exact": bool(np.array_equal(volume.hu, hu)),
            }
        answer |= findings_there_and_back(web, volume, FINDINGS, folder)
        answer["detected"] = detect(web, folder / "judged")
    return answer


def retrieve(web: DICOMwebClient, one: pydicom.Dataset, place: Path) -> str:
    """Query the study of a dataset, save its images, and return their encoding."""
    study = one.StudyInstanceUID
    found = web.search_for_series(study_instance_uid=study)
    uid = found[0]["0020000E"]["Value"][0]
    kinds = (("application/dicom", "*"),)
    files = web.retrieve_series(study, uid, media_types=kinds)
    place.mkdir()
    for index, each in enumerate(files):
        each.save_as(place / f"{index}.dcm", enforce_file_format=True)
    return str(files[0].file_meta.TransferSyntaxUID)


def detect(web: DICOMwebClient, place: Path) -> dict:
    """Find the nodules of a scan that comes from the archive, and send them back."""
    datasets = ct_datasets(body(SPOTS), (1, 1, 1), (-70, -50, 200))
    store(datasets)
    retrieve(web, datasets[0], place)
    volume = load_series(place)
    marks = find(Bright().eval(), volume, progress=False)
    findings = [each for each in marks if each.probability >= 0.5]
    return findings_there_and_back(web, volume, findings, place)


def findings_there_and_back(
    web: DICOMwebClient, volume: Volume, findings: list[Finding], folder: Path
) -> dict:
    """Store findings and return what the archive says of them."""
    objects = [pydicom.dcmread(p) for p in write_findings(volume, findings, folder)]
    web.store_instances(datasets=objects)
    study = volume.headers[0].StudyInstanceUID
    kinds = web.search_for_series(study_instance_uid=study)
    modalities = sorted(each["00080060"]["Value"][0] for each in kinds)
    back = read_back(web, study, objects, len(findings))
    centers = [each.center_mm for each in findings]
    return {"modalities": modalities, "findings": back, "centers": centers}


def read_back(web: DICOMwebClient, study: str, objects, count: int) -> dict:
    """Return what the archive says of the segmentation and of the report."""
    seg, document = (
        web.retrieve_instance(study, each.SeriesInstanceUID, each.SOPInstanceUID)
        for each in objects
    )
    volume = hd.seg.Segmentation.from_dataset(seg).get_volume()
    report = hd.sr.Comprehensive3DSR.from_dataset(document)
    groups = report.content.get_volumetric_roi_measurement_groups()
    return {
        "voxels": [int(volume.array[..., i].sum()) for i in range(count)],
        "measurements": [
            {str(m.name.meaning): float(m.value) for m in group.get_measurements()}
            for group in groups
        ],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
