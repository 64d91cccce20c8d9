"""Run a detector on LUNA16's scans, and judge it as the challenge does.

The scans (`subset0` to `subset9`) and the folder `evaluationScript` come from the
challenge's download, which is not part of this project.
Source: the challenge's script, `noduleCADEvaluationLUNA16.py`.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from torch import nn

from ...bar import Bar
from ...files import atomic_write
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

    Each finished scan is kept in `out`, so an interrupted run can be continued. Another
    model needs another folder.

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
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    with Bar(len(uids), progress, "scans") as bar:
        for uid in uids:
            found[uid] = _findings(model, paths[uid], out / f"{uid}.json")
            bar.advance(1)
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


def _findings(model: nn.Module, path: Path, finished: Path) -> list[Finding]:
    """Return the findings in a scan, from an earlier run if there was one."""
    if not finished.exists():
        try:
            found = find(model, luna16.read_scan(path), progress=False)
        except NoLungsError as error:
            warnings.warn(f"{path.name}: {error}", stacklevel=3)
            found = []
        rows = [[*f.center_mm, f.diameter_mm, f.probability] for f in found]
        with atomic_write(finished) as temporary:
            temporary.write_text(json.dumps(rows))
    rows = json.loads(finished.read_text())
    return [Finding((x, y, z), diameter, p) for x, y, z, diameter, p in rows]
