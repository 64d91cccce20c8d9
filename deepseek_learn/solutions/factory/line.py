"""The production line: an inspector as a C++ program that needs no Python.

`deploy` writes a folder with the program, the model and the settings. The program judges
a folder of parts, or watches it, and writes the same files as `inspect`.
Source: `engine/inspector.cpp`. Lesson: `notebooks/practical/05_the_line.ipynb`.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ... import __version__
from ...catalog import text
from ...deploy import DeploymentWizard, native
from ...deploy.result import Deployment
from ...files import atomic_write
from ..verdicts import (
    Provenance,
    Verdicts,
    read_verdicts,
    sha256,
    warn_set_aside,
)
from .alarms import Alarm, alarm, least_scores
from .data import PartError, part_files
from .drift import LIMIT, STATISTICS, WEIGHT, Drift
from .inspector import Inspector, good_part, split, tiles_of
from .report import Inspection
from .synthetic import spoil

SOURCE = Path(__file__).with_name("engine")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm")  # of the files that it reads
OPTIONS = ("overlap", "threshold", "tile")  # that can change a verdict
EXAMPLES = 24  # good tiles that, with spoiled copies, calibrate INT8
GUARDED = 64  # good tiles that, with spoiled copies, measure what INT8 loses


class LineError(native.EngineError):
    """Raised when the program fails or rejects its input, with the program's message."""


@dataclass(frozen=True)
class Line:
    """A deployed inspector.

    Attributes:
        folder: the folder with the program, the model and the settings.
        alarm: the threshold, calibrated with the scores of the program itself.
        deployment: the wizard's report on the model.
    """

    folder: Path
    alarm: Alarm
    deployment: Deployment

    def run(self, parts: str | Path, out: str | Path, *options: Any) -> Inspection:
        """Judge the parts in a folder and write the verdicts, the overlays and a page.

        Args:
            options: options of the program, such as `"--skip", folder`.

        Raises:
            LineError: if the program fails; the verdicts written so far remain.
        """
        count = judge(self.folder, parts, out, *options)["set_aside"]
        log = Path(out) / "verdicts.jsonl"
        if count:
            warn_set_aside(log, count, text("factory.line"))
        with Verdicts(log, self.provenance()) as verdicts:
            result = Inspection(verdicts.latest(), self.alarm)
        result.save(Path(out))
        return result

    def provenance(self) -> Provenance:
        """Return what the verdicts depend on besides the parts, as the program does."""
        lines = (self.folder / "inspector.conf").read_text().splitlines()
        settings = dict(line.split(maxsplit=1) for line in lines if " " in line)
        options = {name: json.loads(settings[name]) for name in OPTIONS}
        return Provenance(settings["model_sha256"], options, settings["version"])


def deploy(
    inspector: Inspector,
    good: str | Path,
    out: str | Path,
    *,
    precision: str = "int8",
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> Line:
    """Write a folder with a program that judges parts as the inspector does.

    INT8 changes the scores a little, so the threshold is computed anew from the scores
    that the program itself gives the good parts for calibration.

    Args:
        inspector: an inspector whose detector is a module, as from `learn`.
        good: the folder with the good parts that it was learned from. Those that
            calibrated its threshold do so again, and the others provide examples.
        precision: "int8" or "fp32".
        seed: draws the examples. An inspector that was not made by `learn` does not know
            its good parts; they are then divided as `learn` would do with this seed.

    Raises:
        ValueError: if the good parts have changed since `learn`, or are too few.
        AccuracyError: if INT8 would lose a point of AUROC on synthetic defects.
        PartError: if the program cannot read a good part, such as a TIFF file, or if a
            good part shows nothing.
        BuildError: if the program cannot be compiled here.
        FileExistsError: if `out` is not empty, unless `overwrite` is set.
    """
    if not isinstance(inspector.detector, nn.Module):
        raise TypeError("inspector.detector must be a module to be deployed.")
    program = native.compiled("onnxruntime", SOURCE / "inspector.cpp")
    learned, held_out = _calibration(inspector, good, seed)
    least = least_scores(inspector.alarm.rate)
    if len(held_out) < least:
        raise ValueError(
            f"A false-alarm rate of {inspector.alarm.rate:g} needs at least {least} good "
            f"parts for calibration; got {len(held_out)}."
        )
    for path in (*learned, *held_out):
        if path.suffix.lower() not in SUFFIXES:
            raise PartError(
                f"{path.name!r}: the program reads {', '.join(SUFFIXES)} files only."
            )
    tiles = np.concatenate([tiles_of(good_part(p), inspector.tile) for p in learned])
    rng = np.random.default_rng(seed)
    tiles = tiles[rng.permutation(len(tiles))]
    some = tiles[:EXAMPLES]
    spoiled = np.stack([spoil(each, rng, some)[0] for each in some])
    # defects come first, because they cause the largest outputs
    examples = torch.from_numpy(np.concatenate([spoiled, some]))[:, None]
    wizard = DeploymentWizard(
        inspector.detector,
        examples[:1],
        list(examples.split(1)),
        separation(torch.from_numpy(tiles[-GUARDED:])[:, None], seed + 1),
        dynamic_batch=False,
    )
    deployment = wizard.to(
        "cpp-cpu", out, precision=precision, overwrite=overwrite, progress=progress
    )
    folder = Path(out)
    with atomic_write(folder / "inspector") as temporary:
        temporary.write_bytes(program)
    (folder / "inspector").chmod(0o755)
    _copy_source(folder / "source" / "inspector")
    threshold = alarm(_scores(folder, inspector, held_out), inspector.alarm.rate)
    _write_settings(folder, folder, inspector, threshold)
    return Line(folder, threshold, deployment)


def _calibration(
    inspector: Inspector, good: str | Path, seed: int
) -> tuple[list[Path], list[Path]]:
    """Return the good parts that were learned, and those that calibrated the threshold."""
    if not inspector.calibrated_with:
        return split(good, seed)
    files = part_files(good)
    digests = [sha256(path.read_bytes()) for path in files]
    if not inspector.calibrated_with <= set(digests):
        raise ValueError(
            f"The good parts in {str(good)!r} have changed since the inspector learned "
            f"from them; learn again."
        )
    learned, held_out = list[Path](), list[Path]()
    for path, digest in zip(files, digests, strict=True):
        (held_out if digest in inspector.calibrated_with else learned).append(path)
    return learned, held_out


def judge(
    line: str | Path, parts: str | Path, out: str | Path, *options: Any
) -> dict[str, Any]:
    """Run the program of a deployed line and return the counts that it prints.

    Raises:
        LineError: if the program fails.
    """
    # a program without a folder would be searched for in the PATH
    line = Path(line).resolve()
    words = [line / "inspector", line, parts, out, *options]
    process = subprocess.run(
        [*map(str, words)], capture_output=True, encoding="utf-8", errors="replace"
    )
    if process.returncode:
        errors = process.stderr.strip().splitlines()
        reason = errors[-1] if errors else f"exit status {process.returncode}"
        raise LineError(reason.removeprefix("inspector: "))
    return json.loads(process.stdout)


def separation(tiles: Tensor, seed: int = 0) -> Callable[..., float]:
    """Return a metric: how well a detector tells spoiled tiles from the tiles themselves.

    Args:
        tiles: good tiles, of shape `[N, 1, tile, tile]`.

    Returns:
        A function of `predict` that returns the AUROC of the image scores in points,
        from 0 to 100.
    """
    rng = np.random.default_rng(seed)
    good = tiles[:, 0].numpy()
    spoiled = np.stack([spoil(each, rng, good)[0] for each in good])
    both = torch.from_numpy(np.concatenate([good, spoiled]))[:, None]
    truth = np.repeat([0, 1], len(good))

    def auroc(predict: Callable[[Tensor], Any]) -> float:
        with torch.inference_mode():
            maps = [torch.as_tensor(predict(each)) for each in both.split(1)]
        scores = [float(each.max()) for each in maps]
        return 100 * float(roc_auc_score(truth, scores))

    return auroc


def _scores(line: Path, inspector: Inspector, parts: list[Path]) -> list[float]:
    """Return the program's scores of some parts.

    The settings without a threshold stay in a temporary folder, so that a program that
    was not calibrated is never left behind.
    """
    with TemporaryDirectory(prefix="deepseek_learn_") as name:
        folder = Path(name)
        for file in ("inspector", "model.onnx", "lib"):
            (folder / file).symlink_to((line / file).resolve())
        _write_settings(folder, line, inspector, None)
        (folder / "parts").mkdir()
        for number, path in enumerate(parts):
            link = folder / "parts" / f"{number:06d}{path.suffix}"
            link.symlink_to(path.resolve())
        judge(folder, folder / "parts", folder / "out", "--no-overlays", "--calibrate")
        verdicts = read_verdicts(folder / "out" / "verdicts.jsonl")
        for path, verdict in zip(parts, verdicts, strict=True):
            if "reason" in verdict:
                raise PartError(f"{path.name!r}: {verdict['reason']}")
        return [verdict["score"] for verdict in verdicts]


def _write_settings(
    folder: Path, line: Path, inspector: Inspector, threshold: Alarm | None
) -> None:
    """Write the settings of the program in `line`, and their checksum.

    Without a threshold, they are those to calibrate it.
    """
    lines = [
        f"version {__version__}",
        f"model_sha256 {sha256((line / 'model.onnx').read_bytes())}",
        f"tile {inspector.tile}",
        f"overlap {inspector.overlap}",
        *_charts(inspector.drift),
    ]
    if threshold:
        lines.append(f"threshold {threshold.threshold}")
    lines.append("end")  # without it, the file was not copied completely
    settings = "\n".join(lines) + "\n"
    with atomic_write(folder / "inspector.conf") as temporary:
        temporary.write_text(settings)
    sums = (line / "model.onnx.sha256").read_text().splitlines(keepends=True)
    sums.insert(0, f"{sha256(settings.encode())}  inspector.conf\n")
    with atomic_write(folder / "model.onnx.sha256") as temporary:
        temporary.write_text("".join(sums))


def _charts(drift: Drift) -> list[str]:
    charts = [f"chart {n} {drift.mean[n]} {drift.spread(n)}" for n in STATISTICS]
    return [f"drift {WEIGHT} {LIMIT}", *charts]


def _copy_source(folder: Path) -> None:
    for path in sorted(SOURCE.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(SOURCE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
