"""Screen a folder of scans: read, detect, and write what was found."""

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ... import zoo
from ...bar import Bar
from ...catalog import text
from ..solution import places
from ..verdicts import Provenance, Verdicts, checksum
from . import luna16
from .detector import NoLungsError, find
from .dicom import SeriesError, load_series
from .dicom.export import write_findings
from .dicom.files import read_folder
from .dicom.series import by_series, images
from .pictures import save_picture
from .report import Screening
from .train import CALIBRATION, NAME
from .uncertainty import Calibration
from .volume import Volume


@dataclass(frozen=True)
class Detector:
    """A trained network with its calibration."""

    model: nn.Module
    calibration: Calibration

    def provenance(self, **options: Any) -> Provenance:
        """Return what the verdicts depend on, given the options of `screen`."""
        fitted = self.calibration
        calibration = [fitted.slope, fitted.intercept, fitted.spread]
        return Provenance(checksum(self.model), options | {"calibration": calibration})


def pretrained() -> Detector:
    """Return the zoo's detector, which was trained on phantoms."""
    return Detector(zoo.load(NAME), Calibration.load(CALIBRATION))


@dataclass(frozen=True)
class _Scan:
    """A scan in the input folder: a DICOM series, or a MetaImage file.

    Attributes:
        files: what it consists of.
        damaged: files beside them that cannot be read, for which a series is refused. The
            checksum is computed from both.
        damage: why none of the files can be read.
    """

    name: str
    files: tuple[Path, ...]
    series_uid: str | None = None
    damage: str | None = None
    damaged: tuple[Path, ...] = ()

    def digest(self) -> str:
        total = hashlib.sha256()
        for path in (*self.files, *self.damaged):
            total.update(hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()


def screen(
    detector: Detector,
    folder: str | Path,
    out: str | Path,
    *,
    rate: float = 0.8,
    gaps: str = "refuse",
    tilt: str = "refuse",
    progress: bool = True,
) -> Screening:
    """Find nodules in all scans of a folder.

    The folder `out` then contains `verdicts.jsonl` (one line per scan), `index.html`, and
    for each DICOM series a folder with its findings as SEG and SR and their pictures.
    Scans that have a verdict already are skipped, so an interrupted run can be continued.
    After a change of the detector or of an option, all scans are judged again. A scan that
    cannot be read gets the verdict "refused" with the reason.

    Args:
        folder: DICOM series, in any number and in subfolders, or LUNA16's `.mhd` files.
        rate: how many false findings per scan are acceptable, one of 0.125, 0.25, 0.5,
            0.8, 1, 2, 4 and 8. It was calibrated on phantoms.
        gaps, tilt: see `dicom.load_series`.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no scan, if `out` contains the scans, or if `rate`, `gaps`
            or `tilt` has another value.
        FileExistsError: if another run is writing to `out`; see also `places`.
    """
    root, out = places(folder, out)
    if root.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"out must not contain the scans; got {str(out)!r}.")
    threshold = detector.calibration.threshold(rate)
    scans = [*_scans(root, out)]
    if not scans:
        raise ValueError(f"{str(folder)!r} contains no CT scan.")
    options = {"rate": rate, "threshold": threshold, "gaps": gaps, "tilt": tilt}
    with (
        Verdicts(out / "verdicts.jsonl", detector.provenance(**options)) as verdicts,
        Bar(len(scans), progress, text("nodules.bar")) as bar,
    ):
        for scan in scans:
            digest = scan.digest()
            if (scan.name, digest) not in verdicts:
                start = time.perf_counter()
                place = out / digest[:16]
                shutil.rmtree(
                    place, ignore_errors=True
                )  # findings of an earlier verdict
                facts = _verdict(detector, scan, place, threshold, gaps, tilt)
                facts |= {
                    "threshold": threshold,
                    "seconds": time.perf_counter() - start,
                }
                verdicts.add({"name": scan.name, "sha256": digest} | facts)
            bar.advance(1)
        result = Screening(verdicts.latest(), threshold, rate)
        result.save(out)
    return result


def _scans(root: Path, out: Path) -> Iterator[_Scan]:
    """Yield the scans in a folder, without those in the folder of the results."""

    def own(path: Path) -> bool:
        return not path.resolve().is_relative_to(out.resolve())

    base = root if root.is_dir() else root.parent
    candidates = [root] if root.is_file() else sorted(root.rglob("*.mhd"))
    for path in (p for p in candidates if p.suffix == ".mhd" and own(p)):
        yield _Scan(str(path.relative_to(base)), luna16.files(path))
    contents, places = read_folder(root), {}
    for uid, slices in sorted(by_series(images(contents)).items()):
        files = sorted({each.path for each in slices if own(each.path)})
        if files:
            places[uid] = _place(files, base), tuple(files)
    names = Counter(name for name, _ in places.values())
    for uid, (name, parts) in places.items():
        whole, folder = name if names[name] == 1 else f"{name} ({uid})", _common(parts)
        beside = [p for p in sorted(contents.damaged) if p.is_relative_to(folder)]
        yield _Scan(whole, parts, uid, damaged=tuple(beside))
    with_images = {path.parent for _, parts in places.values() for path in parts}
    damaged: dict[Path, list[Path]] = {}
    for path in sorted(filter(own, contents.damaged)):
        if path.parent not in with_images:  # else its series is refused
            damaged.setdefault(path.parent, []).append(path)
    for group in damaged.values():
        reason = contents.damaged[group[0]]
        yield _Scan(_place(group, base), tuple(group), damage=reason)


def _place(files: list[Path], base: Path) -> str:
    """Return the folder of a series, relative to the input folder."""
    folders = {path.parent for path in files}
    place = str(folders.pop().relative_to(base)) if len(folders) == 1 else "."
    return base.resolve().name if place == "." else place


def _verdict(
    detector: Detector, scan: _Scan, place: Path, threshold: float, gaps: str, tilt: str
) -> dict[str, Any]:
    try:
        return _screened(detector, scan, place, threshold, gaps, tilt)
    except (SeriesError, NoLungsError, FileNotFoundError) as error:
        return {"verdict": "refused", "reason": str(error)}


def _screened(
    detector: Detector, scan: _Scan, place: Path, threshold: float, gaps: str, tilt: str
) -> dict[str, Any]:
    volume = _read(scan, gaps, tilt)
    found = find(detector.model, volume, progress=False)
    calibrated = [detector.calibration.apply(each) for each in found]
    reported = [each for each in calibrated if each.probability >= threshold]
    lines = []
    for number, finding in enumerate(reported, 1):
        picture = place / f"finding_{number}.png"
        save_picture(picture, volume, finding)
        line = finding.to_dict() | {"picture": f"{place.name}/{picture.name}"}
        lines.append(line)
    facts: dict[str, Any] = {
        "verdict": "suspicious" if reported else "clear",
        "findings": lines,
        "warnings": list(volume.warnings),
    }
    if scan.series_uid is not None:
        paths = write_findings(volume, reported, place)
        facts["dicom"] = [f"{place.name}/{path.name}" for path in paths]
    return facts


def _read(scan: _Scan, gaps: str, tilt: str) -> Volume:
    if scan.damage is not None:
        raise SeriesError(scan.damage)
    if scan.series_uid is None:
        return luna16.read_scan(scan.files[0])
    return load_series(
        _common(scan.files), series_uid=scan.series_uid, gaps=gaps, tilt=tilt
    )


def _common(files: Sequence[Path]) -> Path:
    """Return the innermost folder that holds all files."""
    return Path(os.path.commonpath([path.parent for path in files]))
