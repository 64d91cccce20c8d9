"""Read recordings: which movement when, with a stated delay."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import zoo
from ...bar import Bar
from ...catalog import text
from ...zoo.nets.movement_net import MovementNet
from ..solution import places
from ..verdicts import Provenance, Verdicts, checksum, sha256
from .decode import Decoder, windows
from .hapt import CLASSES, HOP, HZ, WINDOW
from .report import Movements
from .signals import Signal, SignalError, read_signal

SURE = 0.5  # a window whose state is less probable, says the network, is unsure
STRIDE = HOP / HZ  # seconds between two windows


@dataclass(frozen=True)
class Movement:
    """A movement: from when to when, in seconds, and which."""

    start: float
    stop: float
    label: str


def read_folder(
    folder: str | Path,
    out: str | Path,
    *,
    progress: bool = True,
    delay: int | None = None,
    **options: Any,
) -> Movements:
    """Read all recordings in a folder.

    Args:
        delay: how many later windows (of 1.28 s each) a decision may wait for; by default,
            the whole recording.
        options: passed to `signals.read_signal`: `columns` and `rate`.

    Raises:
        FileNotFoundError: if there is no CSV file.
        ValueError: if `delay` is negative.
    """
    if delay is not None and delay < 0:
        raise ValueError(f"delay must be 0 or more windows, or None; got {delay}.")
    folder, out = places(folder, out)
    paths = [folder] if folder.is_file() else sorted(folder.glob("**/*.[cC][sS][vV]"))
    paths = [path for path in paths if path.is_file()]  # no folders, no broken links
    root = folder.parent if folder.is_file() else folder
    if not paths:
        raise FileNotFoundError(
            f"{str(folder)!r} is not a CSV file or a folder of them."
        )
    model = zoo.load("movement_reader")
    assert isinstance(model, MovementNet)
    provenance = Provenance(checksum(model), {"delay": delay} | options)
    with Verdicts(out / "verdicts.jsonl", provenance) as verdicts:
        with Bar(len(paths), progress, text("movement.bar")) as bar:
            for path in paths:
                digest = sha256(path.read_bytes())
                name = str(path.relative_to(root))
                if (name, digest) not in verdicts:
                    facts = judge(model, path, delay, options)
                    verdicts.add({"name": name, "sha256": digest, **facts})
                bar.advance(1)
        names = {str(path.relative_to(root)) for path in paths}
        rows = [row for row in verdicts.latest() if row["name"] in names]
    report = Movements(rows)
    report.save(out)
    return report


def judge(
    model: MovementNet, path: Path, delay: int | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Return what a verdict says of one recording."""
    try:
        signal = read_signal(path, **options)
    except SignalError as error:
        return {"verdict": "refused", "reason": str(error)}
    sequence, unsure = movements(model, signal, delay)
    seconds = dict.fromkeys(CLASSES, 0.0)
    for each in sequence:
        seconds[each.label] += each.stop - each.start
    return {
        "verdict": "read",
        "warnings": list(signal.warnings),
        "seconds": {k: round(v, 2) for k, v in seconds.items() if v},
        "unsure": round(unsure, 4),
        "movements": [[round(m.start, 2), round(m.stop, 2), m.label] for m in sequence],
    }


def movements(
    model: MovementNet, signal: Signal, delay: int | None = None
) -> tuple[list[Movement], float]:
    """Return the movements of a recording, and which part of the windows is unsure."""
    result: list[Movement] = []
    unsure: list[np.ndarray] = []
    decoder = Decoder.sticky()
    for start, samples in signal.parts:
        with torch.inference_mode():
            logits = model(torch.from_numpy(windows(samples)))
        states = decoder.decode(logits.numpy(), delay)
        chance = logits.softmax(1).numpy()[np.arange(len(states)), states]
        unsure.append(chance < SURE)
        result += list(_joined(states, start))
    return result, float(np.concatenate(unsure).mean())


def _joined(states: np.ndarray, start: float) -> Iterator[Movement]:
    """Join equal states; a window stands for the time around its middle."""
    first = start + (WINDOW - HOP) / 2 / HZ
    cuts = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    for low, high in pairwise(cuts):
        label = CLASSES[int(states[low])]
        yield Movement(first + low * STRIDE, first + high * STRIDE, label)
