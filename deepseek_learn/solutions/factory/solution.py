"""Inspect a folder of parts: learn from good parts, then judge every other one."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..runner import IndustrySolution, Item, check_apart, file_item, named, solutions
from ..verdicts import REFUSED, Verdicts, checksum, sha256
from .data import LARGEST_FILE, PartError, part_files
from .drift import STATISTICS
from .inspector import Detector, Inspector, learn
from .report import Inspection, save_overlay

GOOD = "good"  # the subfolder with the good parts


@solutions.register("factory")
@dataclass(frozen=True, kw_only=True)
class FactoryInspection(IndustrySolution):
    """Inspect photographs of parts with a detector that has only seen good parts.

    It learns from the images in the subfolder `good`, and judges all others. The overlays
    of the parts are in `overlays/`.

    Attributes:
        good: the folder with the good parts; by default, `good` in the input.
        rate: the highest acceptable false-alarm rate.
        tile, overlap, seed, fit: see `inspector.learn`.
    """

    good: str | Path | None = None
    rate: float = 0.05
    tile: int = 256
    overlap: int = 32
    seed: int = 0
    fit: Callable[[Tensor], Detector] | None = None
    name: ClassVar[str] = "factory"

    def sources(self, folder: Path, out: Path) -> list[tuple[str, Path]]:
        """Return the parts to judge."""
        if not folder.is_dir():
            raise FileNotFoundError(f"{str(folder)!r} is not a folder of images.")
        good = self._good(folder)
        if not good.is_dir():
            raise FileNotFoundError(
                f"The factory solution learns from good parts: put their images into "
                f"{str(good)!r}."
            )
        if out.resolve().is_relative_to(good.resolve()):
            raise ValueError(
                f"out must not be in the folder of the good parts; got {str(out)!r}."
            )
        return parts_to_judge(folder, out, good)

    def learn(self, folder: Path, progress: bool) -> Inspector:
        """Learn from the good parts."""
        good = self._good(folder)
        return learn(good, self.rate, self.tile, self.overlap, self.seed, self.fit)

    def weights(self, model: Inspector) -> str:
        """Return the checksum of the detector's weights."""
        return checksum(model.detector)

    def learned(self, model: Inspector) -> dict[str, Any]:
        """Return what the inspector has learned besides the detector's weights."""
        return {
            "rate": model.alarm.rate,
            "threshold": model.alarm.threshold,
            "tile": model.tile,
            "overlap": model.overlap,
            "seed": model.seed,
            "fit": None,  # the checksum contains the detector's class
            # the good parts also set the control charts
            "good": sha256("".join(sorted(model.calibrated_with)).encode())[:12],
        }

    def resume(self, model: Inspector, verdicts: Verdicts) -> Inspector:
        """Return the inspector with control charts that have followed the earlier parts."""
        drift = copy.deepcopy(model.drift)
        for verdict in verdicts:
            if verdict["verdict"] != REFUSED:
                _check_complete(verdict, verdicts.path)
                drift.update(verdict)
        return replace(model, drift=drift)

    def items(self, source: tuple[str, Path], model: Inspector) -> Iterator[Item]:
        """Yield the part in a file."""
        yield from file_item(*source, PartError, LARGEST_FILE)

    def judge(self, item: Item, model: Inspector, out: Path) -> dict[str, Any]:
        """Return the verdict on a part, and save its overlay."""
        path, content = item.content
        facts, pixels, anomaly = model.judge(path, content)
        overlay = Path("overlays") / f"{item.sha256[:16]}.png"
        save_overlay(out / overlay, pixels, anomaly, model.alarm.threshold)
        return facts | {"overlay": str(overlay), "drift": model.drift.update(facts)}

    def report(self, verdicts: list[dict[str, Any]], model: Inspector) -> Inspection:
        """Return the verdicts on all parts."""
        return Inspection(verdicts, model.alarm)

    def _good(self, folder: Path) -> Path:
        return Path(self.good) if self.good is not None else folder / GOOD


def inspect(
    inspector: Inspector,
    parts: str | Path,
    out: str | Path,
    progress: bool = True,
    skip: str | Path | None = None,
) -> Inspection:
    """Judge all parts in a folder with an inspector that has learned already.

    Args:
        parts: a folder of images.
        skip: a subfolder whose images are not judged, such as that of the good parts.
            Folders with the results of an inspection are not judged either.

    Raises:
        FileNotFoundError: if the folder does not exist.
        PermissionError: if the folder or a subfolder cannot be read.
        ValueError: if the folder has no image or is in `out`, or if `out` contains a
            verdict that is incomplete.
        FileExistsError: if another inspection is writing to `out`.
    """
    folder, out = Path(parts), Path(out)
    sources = parts_to_judge(folder, out, skip)
    report = FactoryInspection().judge_all(sources, inspector, out, progress)
    assert isinstance(report, Inspection)
    return report


def parts_to_judge(
    folder: Path, out: Path, skip: str | Path | None = None
) -> list[tuple[str, Path]]:
    """Return the names and the files of the parts to judge.

    Raises:
        FileNotFoundError, PermissionError, ValueError: see `inspect`.
        NotADirectoryError: if `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out must be a folder; {str(out)!r} is a file.")
    check_apart(folder, out, "parts")
    skipped = [Path(each).resolve() for each in (out, skip) if each is not None]
    files = [
        path
        for path in part_files(folder)
        # a link to a part belongs to the folder that it is in
        if not any(path.parent.resolve().is_relative_to(each) for each in skipped)
    ]
    if not files:
        raise ValueError(
            f"{str(folder)!r} contains no part to judge, apart from the good parts."
        )
    return named(files, folder)


def _check_complete(verdict: dict[str, Any], log: Path) -> None:
    """Raise an error if an earlier verdict is incomplete."""
    if verdict["verdict"] not in ("good", "defective"):
        raise ValueError(
            f"{log}: the verdict on {verdict['name']!r} is {verdict['verdict']!r}, not "
            f"good, defective or refused."
        )
    numbers = ("score", "threshold", *STATISTICS)
    missing = [key for key in numbers if not isinstance(verdict.get(key), int | float)]
    if missing:
        raise ValueError(
            f"{log}: the verdict on {verdict['name']!r} lacks {', '.join(missing)}."
        )
