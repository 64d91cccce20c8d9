"""An inspector: what good parts look like, and the threshold for all others."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..verdicts import sha256
from .alarms import Alarm, alarm, least_scores
from .data import check_exposure, check_tiled_size, part_files, read_part
from .drift import Drift, statistics
from .memory import PatchMemory
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
        seed: what chose them; None if the inspector was not made by `learn`.
    """

    detector: Detector
    alarm: Alarm
    drift: Drift
    tile: int = 256
    overlap: int = 32
    calibrated_with: frozenset[str] = frozenset()
    seed: int | None = None

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
    return Inspector(detector, threshold, drift, tile, overlap, digests, seed)


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
