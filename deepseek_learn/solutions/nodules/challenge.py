"""Run a detector on LUNA16's scans, and judge it as the challenge does.

The scans (`subset0` to `subset9`) and the folder `evaluationScript` come from the
challenge's download, which is not part of this project.
Source: the challenge's script, `noduleCADEvaluationLUNA16.py`.
"""

import warnings
from pathlib import Path

import numpy as np
from torch import nn

from ...bar import Bar
from ..verdicts import Provenance, Verdicts, checksum, sha256
from . import luna16
from .detector import NoLungsError, find
from .finding import Finding
from .measure import Judged, judge


def challenge(
    model: nn.Module,
    scans: str | Path,
    evaluation: str | Path,
    out: str | Path,
    progress: bool = True,
) -> Judged:
    """Mark all scans, write `candidates.csv`, and judge the marks.

    Each finished scan has a line in `out/marks.jsonl`, so an interrupted run can be
    continued. With another model, all scans are marked again.

    Args:
        scans: the folder with the `.mhd` files, also in subfolders.
        evaluation: the folder with `seriesuids.csv`, `annotations.csv` and
            `annotations_excluded.csv`, also in a subfolder.

    Raises:
        FileNotFoundError: if one of the files or a scan is missing.
        SeriesError: if a scan cannot be read. One that shows no lungs gets no marks.
    """
    uids = luna16.series_uids(_only(evaluation, "seriesuids.csv"))
    nodules, excluded = (
        luna16.annotations(_only(evaluation, f"{name}.csv"))
        for name in ("annotations", "annotations_excluded")
    )
    paths = {path.stem: path for path in Path(scans).rglob("*.mhd")}
    missing = [uid for uid in uids if uid not in paths]
    if missing:
        raise FileNotFoundError(
            f"{str(scans)!r} lacks {len(missing)} of the {len(uids)} scans, such as "
            f"{missing[0]}.mhd."
        )
    out = Path(out)
    provenance = Provenance(checksum(model), {})
    with (
        Verdicts(out / "marks.jsonl", provenance) as verdicts,
        Bar(len(uids), progress, "scans") as bar,
    ):
        for uid in uids:
            contents = [file.read_bytes() for file in luna16.files(paths[uid])]
            digest = sha256(b"".join(contents))
            if (uid, digest) not in verdicts:
                marks = _marks(model, paths[uid])
                item = {"name": uid, "sha256": digest, "verdict": "marked"}
                verdicts.add(item | {"marks": marks})
            bar.advance(1)
        marked = {each["name"]: each["marks"] for each in verdicts.latest()}
    found = {uid: [*map(_finding, marked[uid])] for uid in uids}
    luna16.write_candidates(out / "candidates.csv", found)
    nothing = np.zeros((0, 4))
    return judge(
        [luna16.marks(found[uid]) for uid in uids],
        [nodules.get(uid, nothing) for uid in uids],
        [excluded.get(uid, nothing) for uid in uids],
    )


def _only(folder: str | Path, name: str) -> Path:
    files = sorted(Path(folder).rglob(name))
    if not files:
        raise FileNotFoundError(f"{str(folder)!r} contains no {name}.")
    return files[0]


def _marks(model: nn.Module, path: Path) -> list[list[float]]:
    """Return [x, y, z, diameter, probability] of each finding in a scan."""
    try:
        found = find(model, luna16.read_scan(path), progress=False)
    except NoLungsError as error:
        warnings.warn(f"{path.name}: {error}", stacklevel=3)
        return []
    return [[*each.center_mm, each.diameter_mm, each.probability] for each in found]


def _finding(mark: list[float]) -> Finding:
    x, y, z, diameter, probability = mark
    return Finding((x, y, z), diameter, probability)
