"""The leaderboard, raced again: is what it lists as better still better?"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from deepseek_learn.leaderboard import (
    load_track,
    run_again,
    run_field,
    standings,
)

ENTRIES = Path(__file__).resolve().parents[2] / "leaderboard"
CONTROL = "control"


@dataclass(frozen=True)
class Reraced:
    """What a re-run of a track gave.

    Attributes:
        better: the entries that the committed records list as better.
        confirmed: how many of them are still listed as better after the re-run.
        control_listed: whether a copy of the reference came out as better.
    """

    better: int
    confirmed: int
    control_listed: bool


def race_again(track: str, folder: Path, most: int | None = None) -> Reraced:
    """Race a copy of a track's better entries, and of its reference, on fresh seeds.

    Args:
        track: its name.
        folder: an empty folder for the copies.
        most: how many of the better entries; by default all.
    """
    shutil.copytree(ENTRIES / track, folder / track)
    better = [s.entry.name for s in standings(track, folder) if s.state == "better"]
    better = better[:most]
    reference = load_track(track).reference
    for path in (folder / track).glob(f"{reference}.*"):
        text = path.read_text("utf-8")
        mark = "\n# the same, as a control\n" if path.suffix == ".py" else ""
        path.with_stem(CONTROL).write_text(text + mark, "utf-8")
    run_field(track, folder, say=print)  # the control is new, so it is pending
    if better:
        run_again(track, better, folder=folder, say=print)
    states = {each.entry.name: each.state for each in standings(track, folder)}
    confirmed = sum(states[name] == "better" for name in better)
    return Reraced(len(better), confirmed, states[CONTROL] == "better")
