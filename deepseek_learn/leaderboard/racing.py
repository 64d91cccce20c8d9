"""Race the entries of a track against its reference, over the same fresh seeds.

When all runs of a race are there (see `runs`), they become records. A race ends after
its eight seeds, whatever the scores are.
"""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DeepSeekLearnError, UnknownNameError
from ..files import REPOSITORY
from ..sandbox import isolation
from .entry import Entry, read
from .process import CLOSED, started
from .records import SEEDS, Record, add_record, read_records, valid
from .runs import Runs, Say, draw_seeds, run_once, unfinished
from .source import EntryError
from .track import NAMES, RaceResult, Track, derived_seed, load_track

FOLDER = REPOSITORY / "leaderboard"
RECORDS = "records.jsonl"
NOT_HIDDEN = (
    " This system has no namespaces, so files were not hidden from it: a race will hide "
    "them."
)


def entries(name: str, folder: Path = FOLDER) -> dict[str, Entry]:
    """Read the entries of a track, by name.

    Raises:
        DeepSeekLearnError: if the folder, or the reference, is not there.
        EntryError: if a file breaks a rule.
    """
    place = folder / name
    files = sorted(place.glob("*.py"))
    by_name = {path.stem: read(path, name) for path in files}
    if load_track(name).reference not in by_name:
        raise DeepSeekLearnError(
            f"the entries of a track are in a checkout of the repository; "
            f"{place / load_track(name).reference}.py is not there."
        )
    return by_name


def race(
    track: Track,
    candidates: Sequence[Entry],
    reference: Entry,
    folder: Path,
    rerun: bool = False,
    say: Say = lambda line: None,
) -> list[Record]:
    """Race candidates against the reference, add the records, and return them.

    Args:
        candidates: the entries; the reference may be among them.
        reference: what they are compared with.
        folder: the track's folder, to which records are written.
        rerun: whether the records are to confirm earlier ones.
        say: receives a line for each finished run.

    Raises:
        DeepSeekLearnError: if the reference itself fails, or this system cannot keep
            the test data from an entry.
    """
    if isolation() != CLOSED:
        raise DeepSeekLearnError(
            "a race needs a sandbox with Linux namespaces, which this system does not "
            "permit: run it as root, or permit user namespaces."
        )
    runs = Runs(unfinished(folder), track, reference, rerun)
    for seed in runs.seeds:
        problem = None
        base: RaceResult | None = None
        for entry in (reference, *(c for c in candidates if c.name != reference.name)):
            outcome = runs.find(entry, seed)
            if outcome is None and not runs.fault(entry):
                problem = track.problem(seed) if problem is None else problem
                outcome = runs.run(track, entry, problem, seed, base, say)
            if entry is reference and outcome is None:
                raise DeepSeekLearnError(f"the reference fails: {runs.fault(entry)}")
            base = outcome if entry is reference else base
    records = [runs.record(entry) for entry in candidates]
    for record in records:
        add_record(folder / RECORDS, record)
    runs.path.unlink()
    return records


def pending(name: str, folder: Path = FOLDER) -> list[Entry]:
    """Return the entries of a track that have no record of their present code."""
    by_name, track = entries(name, folder), load_track(name)
    records = read_records(folder / name / RECORDS)
    reference = by_name[track.reference]
    return [e for e in by_name.values() if not valid(records, e, reference, track)]


def run_field(name: str, folder: Path = FOLDER, say: Say = print) -> list[Record]:
    """Race all pending entries of a track; none, if none is pending."""
    candidates = pending(name, folder)
    if not candidates:
        return []
    track = load_track(name)
    reference = entries(name, folder)[track.reference]
    return race(track, candidates, reference, folder / name, say=say)


def run_again(
    name: str,
    names: Sequence[str] = (),
    but: Sequence[str] = (),
    folder: Path = FOLDER,
    say: Say = print,
) -> list[Record]:
    """Race entries that have a record once more, on other seeds.

    Args:
        names: the entries; if there are none, those whose first race showed that they
            are better, and that have no re-run yet.
        but: entries to leave out, such as those that have just raced.

    Raises:
        UnknownNameError: if an entry is unknown.
    """
    by_name, track = entries(name, folder), load_track(name)
    reference = by_name[track.reference]
    if unknown := [each for each in names if each not in by_name]:
        raise UnknownNameError("entry", unknown[0], by_name)
    records = read_records(folder / name / RECORDS)
    candidates = []
    for entry in by_name.values():
        ours = valid(records, entry, reference, track)
        unconfirmed = len(ours) == 1 and ours[0].is_better(track)
        is_candidate = entry.name in names if names else unconfirmed
        if ours and is_candidate and entry.name not in but:
            candidates.append(entry)
    if not candidates:
        return []
    return race(track, candidates, reference, folder / name, rerun=True, say=say)


def check(path: str | Path, name: str | None = None, folder: Path = FOLDER) -> str:
    """Run a file in the sandbox on one fresh seed, and say how it did.

    Args:
        path: the entry's Python file.
        name: its track; by default, the name of its folder.

    Returns:
        one sentence, with the entry's score and the reference's.

    Raises:
        EntryError: with one sentence that says what is wrong with the file.
        UnknownNameError: if the track is unknown.
    """
    entry = read(path, name)
    if name is None and entry.track not in NAMES:
        raise EntryError(
            f"name the track of {entry.name}.py (--track), or put it into the folder of "
            f"one; the tracks are {', '.join(NAMES)}."
        )
    track = load_track(entry.track)
    reference = entries(track.name, folder)[track.reference]
    (seed,) = draw_seeds(1)
    with started(
        entry, track, derived_seed(seed, entry.sha256)
    ):  # finds most faults within seconds
        pass
    problem = track.problem(seed)
    base = run_once(track, reference, problem, seed, None)
    outcome = run_once(track, entry, problem, seed, base)
    won = track.gain(outcome.score, base.score) > 0
    return (
        f"{entry.name}.py runs. On one fresh seed it scores {outcome.score:.4g} and the "
        f"reference {reference.name} {base.score:.4g} ({track.better} is better): "
        f"{'won' if won else 'not won'}. {SEEDS} of {SEEDS} decide."
        f"{'' if isolation() == CLOSED else NOT_HIDDEN}"
    )
