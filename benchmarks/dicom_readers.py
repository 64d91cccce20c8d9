"""Folders that are easily misread: what five readers of CT series make of them.

    python benchmarks/dicom_readers.py [--quick]

Protocol. Each trap of `tests/solutions/nodules/dicom/traps` writes a folder and states the
volumes that are right answers (none if every volume would be wrong). Traps that test a
repair on request are left out, since the others have no such option. Our `load_series`,
the five lines of lesson practical/06 (sort by InstanceNumber, stack, add the intercept),
SimpleITK 2.5 (GDCM's file names, first series), dicom2nifti 2.6 (without reorientation) and
MONAI 1.6 (PydicomReader) read each folder; the peers run in an environment of their own
(`benchmarks/.venv/dicom_peers`, not in git). An answer is *right* if it equals a right
volume (spacing within 0.5 %; axes may run the other way), *refused* if the reader raised an
error, *wrong with a warning* if the reader wrote something while it read, and otherwise
*wrong without a word*.

Target, stated before the run: ours gives no wrong answer. This says little about folders
that nobody thought of: the reader was built against these traps. The peers' counts are the
comparison that counts, and theirs depend on the choice of the traps as well.

`--quick` takes every tenth trap, our reader and the five lines.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from deploying.backends import peer_python
from harness.script import BENCHMARKS, Run, Script

from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.nodules.dicom import SeriesError, load_series

sys.path.insert(0, str(BENCHMARKS.parent))
from tests.solutions.nodules.dicom.traps import Trap, Truth, traps

SCRIPT = Script(__file__, __doc__, quick="every tenth folder, without the peers")
PEERS = BENCHMARKS / ".venv" / "dicom_peers"
PACKAGES = (
    "SimpleITK==2.5.*",
    "dicom2nifti==2.6.*",
    "monai==1.6.*",
    "torch==2.13.*",
    "pydicom>=3",
    "pylibjpeg[all]>=2",
    "pyjpegls>=1.4",
)
NAMES = ("SimpleITK", "dicom2nifti", "MONAI")
RIGHT, REFUSED, WARNED, WRONG = "right", "refused", "wrong, warned", "wrong"


def ours(folders: list[Path], truths: list[list[Truth]]) -> list[str]:
    verdicts = []
    for folder, accepted in zip(folders, truths, strict=True):
        try:
            volume = load_series(folder)
        except SeriesError:
            verdicts.append(REFUSED)
            continue
        warned = bool(volume.warnings)
        verdicts.append(judge(volume.hu, volume.spacing_mm, warned, accepted))
    return verdicts


def five_lines(folders: list[Path], truths: list[list[Truth]]) -> list[str]:
    """The reader of many tutorials, and of lesson practical/06."""
    verdicts = []
    for folder, accepted in zip(folders, truths, strict=True):
        try:
            files = [pydicom.dcmread(path) for path in folder.iterdir()]
            files.sort(key=lambda each: each.InstanceNumber)
            hu = np.stack([f.pixel_array + float(f.RescaleIntercept) for f in files])
            spacing = (files[0].SliceThickness, *files[0].PixelSpacing)
            verdicts.append(judge(hu, [*map(float, spacing)], False, accepted))
        except Exception:  # it was not written to refuse anything
            verdicts.append(REFUSED)
    return verdicts


def judge(hu: np.ndarray, spacing_mm, warned: bool, truths: list[Truth]) -> str:
    if any(truth.matches(hu, spacing_mm, flips=True) for truth in truths):
        return RIGHT
    return WARNED if warned else WRONG


def peer(name: str, folders: list[Path], truths: list[list[Truth]]) -> list[str]:
    """The verdicts on a peer, which is started again where it crashed."""
    python = peer_python(PEERS, *PACKAGES)
    script = BENCHMARKS / "models" / "dicom_peers.py"
    with tempfile.TemporaryDirectory() as place:
        out, listed = Path(place, "out"), Path(place, "list.json")
        out.mkdir()
        listed.write_text(json.dumps([str(folder) for folder in folders]))
        for _ in folders:
            command = [python, script, name, listed, out]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
            at = int(done.stdout.split("\n")[-1].split()[0])
            (out / f"{at}.no").write_text("crashed")
        return [
            verdict(out / f"{index}.npz", accepted)
            for index, accepted in enumerate(truths)
        ]


def verdict(path: Path, truths: list[Truth]) -> str:
    if not path.exists():
        return REFUSED
    answer = np.load(path)
    return judge(answer["hu"], answer["spacing_mm"], bool(answer["warned"]), truths)


def measure(run: Run) -> Iterator[Row]:
    chosen = [trap for trap in traps.values() if not trap.options]
    names = () if run.quick else NAMES
    chosen = chosen[:: 10 if run.quick else 1]
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, trap.name) for trap in chosen]
        truths = [trap.build(f) for trap, f in zip(chosen, folders, strict=True)]
        verdicts = {"ours": ours(folders, truths)}
        verdicts["five lines"] = five_lines(folders, truths)
        verdicts |= {name: peer(name, folders, truths) for name in names}
    for number, trap in enumerate(chosen):
        words = ", ".join(f"{name}: {v[number]}" for name, v in verdicts.items())
        print(f"{trap.name} ({trap.what}): {words}", file=sys.stderr)
    for name, each in verdicts.items():
        yield row(name, each, chosen)


def row(name: str, verdicts: list[str], chosen: list[Trap]) -> Row:
    counts, total = Counter(verdicts), len(chosen)
    fields = {"claim": "C14", "source": "ours", "unit": "folders", "better": "lower"}
    whose = "our reader" if name == "ours" else name
    what = f"read wrongly without a word by {whose}, of {total} folders that invite it"
    target = 0 if name == "ours" else None
    more = {"measured": counts[WRONG], "n": total, "target": target}
    note = (
        f"right {counts[RIGHT]}, refused {counts[REFUSED]}, wrong with a warning "
        f"{counts[WARNED]}"
    )
    if name == "five lines":
        wrong = [t.what for t, v in zip(chosen, verdicts, strict=True) if v == WRONG]
        note += "; for example: " + "; ".join(wrong[:: max(1, len(wrong) // 12)])
    return Row(**fields, what=what, note=note, **more)


if __name__ == "__main__":
    SCRIPT.main(measure)
