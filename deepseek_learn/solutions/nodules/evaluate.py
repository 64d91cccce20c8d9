"""Run a detector on the phantoms of a part, and judge its marks."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ...bar import Bar
from ...files import atomic_write
from ..phantoms.scans import boxes, deal, generate
from .detector import mark
from .measure import Judged, bootstrap, cpm, judge, sensitivity_at


@dataclass(frozen=True, eq=False)
class Marked:
    """The marks in one scan, with what they are judged by.

    Attributes:
        marks: (score, z, y, x, diameter) in mm, `[N, 5]`.
        nodules: (z, y, x, diameter) in mm, `[M, 4]`.
        specks: spots of less than 3 mm, by which a detector is not judged, `[K, 4]`.
    """

    marks: np.ndarray
    nodules: np.ndarray
    specks: np.ndarray

    def to_dict(self) -> dict[str, list[list[float]]]:
        """Return lists of numbers with four decimals, for a JSON file."""
        return {name: np.round(each, 4).tolist() for name, each in vars(self).items()}

    @classmethod
    def from_dict(cls, facts: dict) -> "Marked":
        """Read what `to_dict` returned; other entries are ignored."""
        columns = {"marks": 5, "nodules": 4, "specks": 4}
        return cls(
            **{k: np.array(facts[k], float).reshape(-1, n) for k, n in columns.items()}
        )


def mark_scan(model: nn.Module, part: str, index: int) -> Marked:
    """Mark one phantom of a part."""
    scan = generate(part, index)
    marks = mark(model, scan.hu, scan.spacing_mm)
    table = np.column_stack([marks.table(), marks.diameters_mm])
    return Marked(table, boxes(scan), scan.specks)


def mark_part(model: nn.Module, part: str, progress: bool = True) -> list[Marked]:
    """Generate and mark all phantoms of a part."""
    results = []
    with Bar(len(deal(part)), progress, part) as bar:
        for index in range(len(deal(part))):
            results.append(mark_scan(model, part, index))
            bar.advance(1)
    return results


def save(results: Iterable[Marked], path: str | Path) -> None:
    """Write the marks in several scans as one JSON line per scan."""
    with atomic_write(path) as temporary:
        lines = (json.dumps(each.to_dict()) + "\n" for each in results)
        temporary.write_text("".join(lines))


def load(path: str | Path) -> list[Marked]:
    """Read a file that `save` wrote."""
    lines = Path(path).read_text().splitlines()
    return [Marked.from_dict(json.loads(line)) for line in lines]


def judged(results: Iterable[Marked]) -> Judged:
    """Judge the marks of several scans as LUNA16 does."""
    results = list(results)
    return judge(
        [each.marks[:, :4] for each in results],
        [each.nodules for each in results],
        [each.specks for each in results],
    )


def metrics(judgment: Judged) -> dict[str, dict[str, float]]:
    """Return the metrics of a card, with their 95 % intervals."""
    result = {}
    for name, statistic in {
        "cpm": cpm,
        "sensitivity_at_0.8": sensitivity_at(0.8),
    }.items():
        low, high = bootstrap(judgment, statistic)
        values = {"value": statistic(judgment), "low": low, "high": high}
        rounded = {key: round(value, 4) for key, value in values.items()}
        result[name] = rounded | {"n": int(judgment.nodules.sum())}
    return result


def diameters(results: Iterable[Marked]) -> list[tuple[float, float]]:
    """Return (true, predicted) diameters in mm of the nodules that were hit."""
    pairs = []
    for each in results:
        for *center, true in each.nodules:
            distance = np.linalg.norm(each.marks[:, 1:4] - center, axis=1)
            near = each.marks[distance < true / 2]
            if len(near):
                pairs.append((float(true), float(near[near[:, 0].argmax(), 4])))
    return pairs
