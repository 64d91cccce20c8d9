"""Read recordings: which movement when, with a stated delay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ... import zoo
from ...zoo.nets.movement_net import MovementNet
from ..runner import IndustrySolution, Item, file_item, named, solutions
from .decode import ViterbiDecoder, windows
from .hapt import CLASSES, HOP, HZ, WINDOW
from .report import Movements, save_picture
from .signals import Signal, SignalError, read_signal

SURE = 0.5  # a window whose state is less probable, says the network, is unsure
STRIDE = HOP / HZ  # seconds between two windows


@dataclass(frozen=True)
class Movement:
    """A movement: from when to when, in seconds, and which."""

    start: float
    stop: float
    label: str


def movements(
    model: MovementNet, signal: Signal, delay: int | None = None
) -> tuple[list[Movement], float]:
    """Return the movements of a recording, and which part of the windows is unsure."""
    result: list[Movement] = []
    unsure: list[np.ndarray] = []
    decoder = ViterbiDecoder.sticky()
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


@solutions.register("movement")
@dataclass(frozen=True, kw_only=True)
class MovementReading(IndustrySolution):
    """Read movements from a sensor at the waist, with the zoo's network.

    The input is a CSV file, or a folder of them.

    Attributes:
        delay: how many later windows (of 1.28 s each) a decision may wait for; by default,
            the whole recording.
        columns, rate: see `signals.read_signal`.
    """

    delay: int | None = None
    columns: Mapping[str, str] | None = None
    rate: float | None = None
    name: ClassVar[str] = "movement"

    def __post_init__(self) -> None:
        if self.delay is not None and self.delay < 0:
            raise ValueError(
                f"delay must be 0 or more windows, or None; got {self.delay}."
            )

    def sources(self, folder: Path, out: Path) -> list[tuple[str, Path]]:
        """Return the CSV files."""
        paths = [folder] if folder.is_file() else folder.glob("**/*.[cC][sS][vV]")
        paths = [path for path in sorted(paths) if path.is_file()]  # no broken links
        if not paths:
            raise FileNotFoundError(
                f"{str(folder)!r} is not a CSV file or a folder of them."
            )
        return named(paths, folder)

    def learn(self, folder: Path, progress: bool) -> MovementNet:
        """Return the zoo's network."""
        model = zoo.load("movement_reader")
        assert isinstance(model, MovementNet)
        return model

    def items(self, source: tuple[str, Path], model: MovementNet) -> Iterator[Item]:
        """Yield the recording in a file."""
        yield from file_item(*source, SignalError)

    def read(self, item: Item) -> Signal:
        """Return the signal of a recording."""
        path, _ = item.content
        return read_signal(path, columns=self.columns, rate=self.rate)

    def judge(self, item: Item, model: MovementNet, out: Path) -> dict[str, Any]:
        """Return the movements of a recording, and draw them."""
        signal: Signal = item.content
        sequence, unsure = movements(model, signal, self.delay)
        seconds = dict.fromkeys(CLASSES, 0.0)
        for each in sequence:
            seconds[each.label] += each.stop - each.start
        rows = [[round(m.start, 2), round(m.stop, 2), m.label] for m in sequence]
        picture = f"{item.sha256[:16]}.png"
        save_picture(out / picture, rows)
        return {
            "verdict": "read",
            "warnings": list(signal.warnings),
            "seconds": {k: round(v, 2) for k, v in seconds.items() if v},
            "unsure": round(unsure, 4),
            "movements": rows,
            "picture": picture,
        }

    def report(self, verdicts: list[dict[str, Any]], model: MovementNet) -> Movements:
        """Return the movements in all recordings."""
        return Movements(verdicts)
