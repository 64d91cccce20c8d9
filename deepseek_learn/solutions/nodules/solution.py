"""Screen scans of the chest: read, detect, and write what was found."""

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from ... import zoo
from ..runner import IndustrySolution, Item, check_apart, solutions
from ..verdicts import checksum
from . import luna16
from .detector import find
from .dicom import SeriesError, load_series
from .dicom.export import write_findings
from .dicom.files import read_folder
from .dicom.series import by_series, images
from .pictures import save_picture
from .report import Screening
from .train import CALIBRATION, NAME
from .uncertainty import ScoreCalibration
from .volume import Volume


@dataclass(frozen=True)
class CalibratedDetector:
    """A trained network with its calibration."""

    model: nn.Module
    calibration: ScoreCalibration


def pretrained() -> CalibratedDetector:
    """Return the zoo's detector, which was trained on phantoms."""
    return CalibratedDetector(zoo.load(NAME), ScoreCalibration.load(CALIBRATION))


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


def _common(files: Sequence[Path]) -> Path:
    """Return the innermost folder that holds all files."""
    return Path(os.path.commonpath([path.parent for path in files]))


@solutions.register("nodules")
@dataclass(frozen=True, kw_only=True)
class NoduleScreening(IndustrySolution):
    """Find nodules in CT scans of the chest. Not for diagnosis.

    The input is a folder of DICOM series, in any number and in subfolders, or of LUNA16's
    `.mhd` files. For each series, the output contains a folder with its findings as SEG and
    SR, and their pictures.

    Attributes:
        rate: how many false findings per scan are acceptable, one of 0.125, 0.25, 0.5,
            0.8, 1, 2, 4 and 8. It was calibrated on phantoms.
        gaps, tilt: see `dicom.load_series`.
    """

    rate: float = 0.8
    gaps: str = "refuse"
    tilt: str = "refuse"
    name: ClassVar[str] = "nodules"

    def sources(self, folder: Path, out: Path) -> list[_Scan]:
        """Return the scans."""
        check_apart(folder, out, "scans")
        scans = [*_scans(folder, out)]
        if not scans:
            raise ValueError(f"{str(folder)!r} contains no CT scan.")
        return scans

    def learn(self, folder: Path, progress: bool) -> CalibratedDetector:
        """Return the zoo's detector."""
        return pretrained()

    def weights(self, model: CalibratedDetector) -> str:
        """Return the checksum of the network's weights."""
        return checksum(model.model)

    def learned(self, model: CalibratedDetector) -> dict[str, Any]:
        """Return the calibration, and the threshold that it gives."""
        fitted = model.calibration
        return {
            "threshold": fitted.threshold(self.rate),
            "calibration": [fitted.slope, fitted.intercept, fitted.spread],
        }

    def items(self, source: _Scan, model: CalibratedDetector) -> Iterator[Item]:
        """Yield a scan."""
        yield Item(source.name, source.digest(), source)

    def judge(self, item: Item, model: CalibratedDetector, out: Path) -> dict[str, Any]:
        """Return the findings in a scan, and write them as DICOM and as pictures."""
        start, scan = time.perf_counter(), item.content
        place = out / item.sha256[:16]
        shutil.rmtree(place, ignore_errors=True)  # findings of an earlier verdict
        volume = self._volume(scan)
        threshold = model.calibration.threshold(self.rate)
        marks = find(model.model, volume, progress=False)
        calibrated = [model.calibration.apply(each) for each in marks]
        findings = [each for each in calibrated if each.probability >= threshold]
        lines = []
        for number, finding in enumerate(findings, 1):
            picture = place / f"finding_{number}.png"
            save_picture(picture, volume, finding)
            line = finding.to_dict() | {"picture": f"{place.name}/{picture.name}"}
            lines.append(line)
        facts: dict[str, Any] = {
            "verdict": "suspicious" if findings else "clear",
            "warnings": list(volume.warnings),
            "findings": lines,
            "threshold": threshold,
        }
        if scan.series_uid is not None:
            paths = write_findings(volume, findings, place)
            facts["dicom"] = [f"{place.name}/{path.name}" for path in paths]
        return facts | {"seconds": time.perf_counter() - start}

    def report(
        self, verdicts: list[dict[str, Any]], model: CalibratedDetector
    ) -> Screening:
        """Return the findings in all scans."""
        threshold = model.calibration.threshold(self.rate)
        return Screening(verdicts, threshold, self.rate)

    def _volume(self, scan: _Scan) -> Volume:
        if scan.damage is not None:
            raise SeriesError(scan.damage)
        if scan.series_uid is None:
            try:
                return luna16.read_scan(scan.files[0])
            except FileNotFoundError as error:  # the file with its voxels
                raise SeriesError(str(error)) from error
        return load_series(
            _common(scan.files),
            series_uid=scan.series_uid,
            gaps=self.gaps,
            tilt=self.tilt,
        )
