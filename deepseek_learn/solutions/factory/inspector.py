"""Inspect a folder of parts: learn from good parts, then judge every other one."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...bar import Bar
from ...catalog import text
from ..verdicts import Provenance, Verdicts, checksum, sha256
from .alarms import Alarm, alarm, least_scores
from .data import (
    LARGEST_FILE,
    PartError,
    check_exposure,
    check_tiled_size,
    part_files,
    read_part,
)
from .drift import STATISTICS, Drift, statistics
from .memory import PatchMemory
from .report import Inspection, save_overlay
from .tiles import anomaly_map, check_tiles, extended, starts

Detector = Callable[[Tensor], Tensor]
CALIBRATION = 1 / 2  # fraction of the good parts that calibrate the threshold


@dataclass(frozen=True)
class Inspector:
    """A detector with the threshold above which a part counts as defective.

    Attributes:
        detector: maps tiles of shape `[B, 1, tile, tile]` to maps `[B, tile, tile]`.
        alarm: the threshold and the promised rate of false alarms.
        drift: the control charts of the good parts.
        tile, overlap: the size of a tile and how far two tiles overlap, in pixels.
        calibrated_with: the SHA-256 of the good parts that calibrated the threshold.
    """

    detector: Detector
    alarm: Alarm
    drift: Drift
    tile: int = 256
    overlap: int = 32
    calibrated_with: frozenset[str] = frozenset()

    def provenance(self) -> Provenance:
        """Return what the verdicts depend on besides the parts."""
        options = {
            "rate": self.alarm.rate,
            "threshold": self.alarm.threshold,
            "tile": self.tile,
            "overlap": self.overlap,
            # the good parts also set the control charts
            "good": sha256("".join(sorted(self.calibrated_with)).encode())[:12],
        }
        return Provenance(checksum(self.detector), options)

    def score(self, pixels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the score of a part, the maximum of its map, and the map itself.

        Raises:
            ValueError: if the detector returns NaN or infinity.
        """
        anomaly = anomaly_map(self.detector, pixels, self.tile, self.overlap)
        return float(anomaly.max()), anomaly

    def judge(
        self, path: Path, content: bytes | None = None
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Return the verdict on a part, its pixels and its anomaly map.

        Args:
            content: the content of the file, if it has been read already.

        Raises:
            PartError: if the file cannot be judged; the message gives the reason.
            ValueError: if the detector returns NaN or infinity.
        """
        start = time.perf_counter()
        pixels = read_part(path, content)
        check_exposure(path.name, pixels)
        check_tiled_size(path.name, pixels, self.tile)
        score, anomaly = self.score(pixels)
        verdict = "defective" if score > self.alarm.threshold else "good"
        facts = {
            "verdict": verdict,
            "score": score,
            "threshold": self.alarm.threshold,
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            **statistics(pixels),
            "ms": 1e3 * (time.perf_counter() - start),
        }
        return facts, pixels, anomaly


def learn(
    good: str | Path,
    rate: float = 0.05,
    tile: int = 256,
    overlap: int = 32,
    seed: int = 0,
    fit: Callable[[Tensor], Detector] | None = None,
) -> Inspector:
    """Learn what good parts look like, and calibrate the threshold on held-out ones.

    Args:
        good: a folder of images of good parts. Half of them, drawn at random, are learned;
            the other half calibrates the threshold.
        rate: the highest acceptable rate of false alarms.
        fit: maps the tiles of the learned parts, of shape `[N, 1, tile, tile]`, to a
            detector; by default, a `PatchMemory`.

    Raises:
        FileNotFoundError, ValueError: if the folder does not exist or has no image, if
            there are too few good parts to promise the rate, or if `tile` or `overlap`
            is out of range, or if the detector returns NaN or infinity.
        PartError: if an image cannot be read or shows nothing; a bad image among the good
            ones should be noticed, not skipped.
    """
    check_tiles(tile, overlap)
    learned, held_out = split(good, seed)
    least = least_scores(rate)
    if len(held_out) < least:
        raise ValueError(
            f"A false-alarm rate of {rate:g} needs at least {2 * least - 1} good "
            f"parts, half of which calibrate the threshold; got "
            f"{len(learned) + len(held_out)}."
        )
    tiles = [tiles_of(good_part(path), tile) for path in learned]
    stacked = torch.from_numpy(np.concatenate(tiles))[:, None]
    detector = (fit or (lambda x: PatchMemory().remember(x)))(stacked)
    scores, facts = [], []
    for path in held_out:
        pixels = good_part(path)
        check_tiled_size(path.name, pixels, tile)
        scores.append(anomaly_map(detector, pixels, tile, overlap).max())
        facts.append(statistics(pixels))
    digests = frozenset(sha256(path.read_bytes()) for path in held_out)
    threshold, drift = alarm(scores, rate), Drift.of(facts)
    return Inspector(detector, threshold, drift, tile, overlap, digests)


def good_part(path: Path) -> np.ndarray:
    """Read a good part.

    Raises:
        PartError: if it cannot be read, or if it is black, white or constant.
    """
    pixels = read_part(path)
    check_exposure(path.name, pixels)
    return pixels


def split(good: str | Path, seed: int = 0) -> tuple[list[Path], list[Path]]:
    """Divide good parts at random into those to learn from and those for calibration.

    Raises:
        FileNotFoundError, ValueError: if the folder does not exist, or if it contains
            fewer than two images.
    """
    files = part_files(good)
    order = np.random.default_rng(seed).permutation(len(files))
    count = int(np.ceil(CALIBRATION * len(files)))
    if count == len(files):
        raise ValueError(f"{str(good)!r} contains only one good part; more are needed.")
    return [files[i] for i in sorted(order[count:])], [files[i] for i in order[:count]]


def tiles_of(pixels: np.ndarray, tile: int) -> np.ndarray:
    """Cut a part into tiles `[N, tile, tile]` that cover it, extended by reflection."""
    padded = extended(pixels, tile)
    return np.stack(
        [
            padded[y : y + tile, x : x + tile]
            for y in starts(padded.shape[0], tile, 0)
            for x in starts(padded.shape[1], tile, 0)
        ]
    )


def inspect(
    inspector: Inspector,
    parts: str | Path,
    out: str | Path,
    progress: bool = True,
    skip: str | Path | None = None,
) -> Inspection:
    """Judge all parts and write the verdicts, the overlays and a page to a folder.

    The folder `out` then contains `verdicts.jsonl` (one line per part), `overlays/` and
    `index.html`. Parts that have a verdict already are skipped, so an interrupted
    inspection can be run again; after a change of the inspector, all parts are judged
    again. A part that cannot be judged gets the verdict "unreadable" with the reason.

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
    root, out = Path(parts), Path(out)
    files = to_judge(root, out, skip)
    with (
        Verdicts(out / "verdicts.jsonl", inspector.provenance()) as verdicts,
        Bar(len(files), progress, text("factory.bar")) as bar,
    ):
        drift = copy.deepcopy(inspector.drift)
        for verdict in verdicts:
            if verdict["verdict"] != "unreadable":
                _check_complete(verdict, verdicts.path)
                drift.update(verdict)
        for path in files:
            item = _Part(path, root)
            if item.exists and (item.name, item.digest) not in verdicts:
                facts = _verdict(inspector, item, out)
                if "size" in facts:
                    facts["drift"] = drift.update(facts)
                verdicts.add({"name": item.name, "sha256": item.digest} | facts)
            bar.advance(1)
        result = Inspection(verdicts.latest(), inspector.alarm)
        result.save(out)
    return result


def to_judge(
    parts: str | Path, out: str | Path, skip: str | Path | None = None
) -> list[Path]:
    """Return the parts that `inspect` judges.

    Raises:
        FileNotFoundError, PermissionError, ValueError: see `inspect`.
        NotADirectoryError: if `out` is a file.
    """
    root, target = Path(parts), Path(out)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"out must be a folder; {str(out)!r} is a file.")
    if root.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"out must not contain the parts; got {str(out)!r}.")
    skipped = [Path(folder).resolve() for folder in (out, skip) if folder is not None]
    files = [
        path
        for path in part_files(root)
        # a link to a part belongs to the folder that it is in
        if not any(path.parent.resolve().is_relative_to(folder) for folder in skipped)
    ]
    if not files:
        raise ValueError(
            f"{str(root)!r} contains no part to judge, apart from the good parts."
        )
    return files


def _check_complete(verdict: dict[str, Any], log: Path) -> None:
    """Raise an error if an earlier verdict is incomplete."""
    if verdict["verdict"] not in ("good", "defective"):
        raise ValueError(
            f"{log}: the verdict on {verdict['name']!r} is {verdict['verdict']!r}, not "
            f"good, defective or unreadable."
        )
    numbers = ("score", "threshold", *STATISTICS)
    missing = [key for key in numbers if not isinstance(verdict.get(key), int | float)]
    if missing:
        raise ValueError(
            f"{log}: the verdict on {verdict['name']!r} lacks {', '.join(missing)}."
        )


class _Part:
    """A file with a part. It is read once, so its checksum is that of what was judged.

    Attributes:
        content: the content of the file; None if it cannot be read or is too large.
        digest: the SHA-256 of the content; zeros if there is none.
        exists: False if the file has been removed since the folder was listed.
    """

    def __init__(self, path: Path, root: Path):
        self.path, self.name = path, str(path.relative_to(root))
        self.content: bytes | None = None
        self.digest, self.exists, self.reason = "0" * 64, True, ""
        try:
            size = path.stat().st_size
            if size > LARGEST_FILE:
                self.reason = f"{path.name!r} has more than {LARGEST_FILE >> 30} GiB."
                return
            self.content = path.read_bytes()
            self.digest = sha256(self.content)
        except FileNotFoundError:
            self.exists = False
        except OSError as error:
            self.reason = f"{path.name!r} cannot be read: {error.strerror}."


def _verdict(inspector: Inspector, part: _Part, out: Path) -> dict[str, Any]:
    """Judge one part and save its overlay; a part that cannot be judged has a reason."""
    if part.content is None:
        return {"verdict": "unreadable", "reason": part.reason}
    try:
        facts, pixels, anomaly = inspector.judge(part.path, part.content)
    except PartError as error:
        return {"verdict": "unreadable", "reason": str(error)}
    overlay = Path("overlays") / f"{part.digest[:16]}.png"
    save_overlay(out / overlay, pixels, anomaly, inspector.alarm.threshold)
    return facts | {"overlay": str(overlay)}
