"""The runs of a race on fresh seeds, and the file from which a race resumes.

The seeds come from the operating system, and no entry sees them. Every finished run is a
line in a file, so that an interrupted race resumes with the same seeds. The file is in
the user's cache and never in the repository, since its lines become records.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..binary_cache import cache_folder
from ..sandbox import isolation
from .entry import Entry
from .process import started
from .records import SEEDS, Record
from .source import EntryError
from .track import RaceResult, Track, derived_seed

Say = Callable[[str], None]


def unfinished(folder: Path) -> Path:
    """Return the file of the finished runs of an unfinished race, in the user's cache.

    Args:
        folder: the track's folder; each checkout has a race of its own.
    """
    checkout = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return cache_folder("leaderboard") / f"{folder.name}-{checkout}.jsonl"


def draw_seeds(count: int = SEEDS) -> list[int]:
    """Draw seeds from the operating system."""
    return [secrets.randbits(48) for _ in range(count)]


def run_once(
    track: Track, entry: Entry, problem: Any, seed: int, reference: RaceResult | None
) -> RaceResult:
    """Run an entry on one problem.

    Raises:
        EntryError: if it fails.
    """
    start = partial(started, entry, track, derived_seed(seed, entry.sha256))
    try:
        return track.measure(problem, start, entry.settings, reference)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # an unforeseen answer must not stop the race of the other entries
        raise EntryError(
            f"{entry.name}.py: its answer cannot be scored ({type(error).__name__})."
        ) from error


class Runs:
    """The finished runs of a race, one JSON line each; the first holds the seeds.

    A file of another reference, version or kind of race is replaced, with new seeds.
    """

    def __init__(self, path: Path, track: Track, reference: Entry, rerun: bool):
        self.path, self.reference, self.rerun = path, reference, rerun
        self.version = track.version
        key = {"reference": reference.sha256, "version": self.version, "rerun": rerun}
        key |= {"torch": torch.__version__}
        lines = _lines(path)
        if not lines or {name: lines[0].get(name) for name in key} != key:
            lines = [key | {"seeds": draw_seeds()}]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(lines[0]), "utf-8")
        self.seeds: list[int] = lines[0]["seeds"]
        self.lines = lines[1:]

    def find(self, entry: Entry, seed: int) -> RaceResult | None:
        """Return a finished run."""
        for line in self.lines:
            place = line["sha256"], line.get("seed")
            if place == (entry.sha256, seed) and "score" in line:
                return RaceResult(line["score"], line["facts"])
        return None

    def fault(self, entry: Entry) -> str:
        """Return why an entry failed, or ""."""
        faults = [line.get("fault", "") for line in self._of(entry)]
        return next(filter(None, faults), "")

    def run(
        self,
        track: Track,
        entry: Entry,
        problem: Any,
        seed: int,
        base: RaceResult | None,
        say: Say,
    ) -> RaceResult | None:
        """Run an entry, and store its result or its fault."""
        start = time.monotonic()
        line: dict[str, Any] = {"entry": entry.name, "sha256": entry.sha256}
        outcome = None
        try:
            outcome = run_once(track, entry, problem, seed, base)
            line |= {"seed": seed} | asdict(outcome)
        except EntryError as error:
            line["fault"] = str(error)
        line["seconds"] = round(time.monotonic() - start, 1)
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))  # ends a line that was cut off
        result = line.get("fault") or f"{line['score']:.5g}"
        place = f"{self.seeds.index(seed) + 1}/{len(self.seeds)}"
        say(f"{track.name} {place} {entry.name}: {result} ({line['seconds']} s)")
        return outcome

    def record(self, entry: Entry) -> Record:
        """Return the record of an entry after its last run."""
        pairs = [
            (self.find(entry, s), self.find(self.reference, s)) for s in self.seeds
        ]
        complete = all(ours is not None for ours, _ in pairs)
        scored = pairs if complete else []
        return Record(
            entry.name,
            entry.sha256,
            self.reference.sha256,
            self.version,
            tuple(self.seeds),
            tuple(ours.score for ours, _ in scored if ours),
            tuple(base.score for _, base in scored if base),
            self.fault(entry),
            self.rerun,
            _facts(sum(line["seconds"] for line in self._of(entry))),
        )

    def _of(self, entry: Entry) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["sha256"] == entry.sha256]


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the run was cut off while it wrote
            continue
    return lines


def _facts(seconds: float) -> dict[str, Any]:
    from ..ledger.results import machine

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "torch": version("torch"),
        "isolation": isolation(),
        "seconds": round(seconds, 1),
    }
