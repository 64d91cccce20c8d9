"""The learner's path: do its stages, its certificate and its leaderboard hold?

    python benchmarks/learning_path.py [--quick] [--anew] [--part PART ...]

`stages` (C16). Per stage: how many of the guide's three tasks (`learning/stages.py`) have a
lesson that was executed without an error, with exercises whose checks all hold; and the
fraction of the stage's exercises whose check holds: the published solution passes on a
fresh seed, and neither the starter nor any known wrong answer does. Hours are the sum of
the minutes that lessons and exercises state, for information: the guide speaks of weeks.
Its task "on a local GPU" is done on a processor here, since no GPU is at hand.

`class` (C16). 30 students with known answers to five exercises (right, wrong, untouched,
crashing, looping, patching the check) are graded by `author grade`: the fraction of
answers that get the points that they deserve.

`certificate` (C17). A portfolio of three practical projects (emails, reviews, movements)
and one graded exercise of each stage is made, copied, and verified five times in a new
process, by somebody without its key, in a network namespace without any interface. Thirteen
forgeries (`learning/portfolio.py`), each on a copy: refused with the reason that names
what was done. An honest project is refused about once in 200 verifications by design, and
whenever a run is no better than the simplest classifier on the same data.

`leaderboard` (C18). The entries listed as better, in each track, and a copy of the
reference under another name, race again on fresh seeds: the fraction of the former that
is still listed as better, and the number of copies that are.

Targets, stated before the run: all three tasks of each stage; all exercises; all answers
of the class; all verifications; all forgeries; all re-runs; no copy. The measured times
have no target.

`--quick`: one exercise per stage, 4 students, one verification and two forgeries,
one entry of the track `samplers`.

Added later: verifications and races are of chance (a project is refused, an entry wins, by
fresh seeds), so their fractions have Wilson's 95 % interval. Of five verifications, three
entries or one copy, none can then show that all pass. Later again: `verify` no longer
compares pictures, since they prove nothing, so that eleven forgeries remain: the repainted
SVG and the swapped PDF are gone.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.interval import share
from harness.runs import Runs, end_time
from harness.script import Run, Script, Skip
from learning import board, classroom, portfolio, stages

from deepseek_learn.course import problems
from deepseek_learn.course.lessons import STAGES, lessons
from deepseek_learn.leaderboard.track import NAMES
from deepseek_learn.ledger.rows import Row
from deepseek_learn.sandbox import isolation

PARTS = ("stages", "class", "certificate", "leaderboard")
SCRIPT = Script(
    __file__,
    __doc__,
    quick="a few of each",
    anew=True,
    parts=PARTS,
    of_the_machine=False,
)
STUDENTS, VERIFICATIONS, SEED = 30, 5, 0
CLASS = (
    "multiply_in_integers",
    "pack_nibbles",
    "truncate_a_code",
    "count_the_cost",
    "rounding_with_groups",
)


def row(claim: str, what: str, unit: str, measured: float, target=None, **facts) -> Row:
    better = facts.pop("better", "higher")
    return Row(
        claim=claim,
        source="ours",
        what=what,
        unit=unit,
        better=better,
        target=target,
        measured=measured,
        **facts,
    )


def all_of(claim: str, what: str, count: int, total: int) -> Row:
    """A fraction whose target is all."""
    return row(claim, what, "of 1", count / total, 1.0, n=total)


def repeated(claim: str, what: str, count: int, total: int) -> Row:
    """A fraction of chance outcomes, with its interval, whose target is all."""
    facts = vars(share(count, total))
    return row(claim, what, "of 1", target=1.0, **facts)


def of_stages(run: Run, runs: Runs) -> Iterator[Row]:
    for stage in STAGES:
        part = [each for each in lessons() if each.stage == stage]
        ids = [id for each in part for id in each.problems]
        audits = {id: audited(runs, id) for id in (ids[:1] if run.quick else ids)}
        holds = {id: audit["holds"] for id, audit in audits.items()}
        tasks = stages.TASKS[stage]
        taught = [
            stages.is_taught(slug)
            and all(holds.get(p.id, run.quick) for p in problems.load(slug))
            for slug in tasks.values()
        ]
        name = f"{stage} stage"
        yield row(
            "C16", f"{name}: the guide's tasks that are taught", "of 3", sum(taught), 3
        )
        yield all_of(
            "C16", f"{name}: exercises that hold", sum(holds.values()), len(holds)
        )
        yield row(
            "C16", f"{name}: hours as stated", "h", stages.hours(part), better="lower"
        )


def audited(runs: Runs, id: str) -> dict:
    problem = problems.get(id)
    key = {"exercise": id, "version": problem.version}

    def measure() -> dict:
        result = stages.audit(problem)
        return {"holds": result.holds, "solution": result.solution}

    return runs.once(key, measure)


def of_the_class(run: Run, runs: Runs) -> Iterator[Row]:
    students = 4 if run.quick else STUDENTS
    ids = [*CLASS[:2]] if run.quick else [*CLASS]

    def measure() -> dict:
        with TemporaryDirectory() as folder:
            place, begin = Path(folder), time.monotonic()
            truth = classroom.hand_in(place / "in", students, ids, SEED)
            right = classroom.graded_rightly(place / "in", place / "out", truth, SEED)
            minutes = (time.monotonic() - begin) / 60
        return {"right": right, "answers": len(truth), "minutes": minutes}

    result = runs.once({"class": students}, measure)
    what = f"a class of {students}: answers that get what they deserve"
    yield all_of("C16", what, result["right"], result["answers"])
    what = f"a class of {students}: minutes to grade it"
    yield row("C16", what, "min", result["minutes"], better="lower")


def of_the_certificate(run: Run, runs: Runs) -> Iterator[Row]:
    result = runs.once({"certificate": len(portfolio.PROJECTS)}, lambda: earn(run))
    count = len(result["verified"])
    what = "certificate: verified by somebody else, without network, on fresh seeds"
    yield repeated("C17", what, sum(result["verified"]), count)
    refused = result["refused"]
    what = "certificate: forgeries that are refused for what they are"
    yield all_of("C17", what, sum(refused.values()), len(refused))
    for key in ("make", "verify"):
        what = f"certificate: minutes to {key} three projects"
        yield row("C17", what, "min", result[f"minutes_to_{key}"], better="lower")


def earn(run: Run) -> dict:
    """Make a portfolio, verify copies of it, and forge others."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["DEEPSEEK_LEARN_HOME"] = str(place / "home")
        original, begin = place / "portfolio", time.monotonic()
        portfolio.write(original)
        portfolio.make(original)
        middle = time.monotonic()
        times = 1 if run.quick else VERIFICATIONS
        verified = [
            portfolio.verified_elsewhere(original, place / f"visitor-{k}")
            for k in range(times)
        ]
        end = time.monotonic()
        print("\n".join(line for _, line in verified), flush=True)
        forgeries = [*portfolio.FORGERIES.items()][: 2 if run.quick else None]
        refused = {}
        for forge, reasons in forgeries:
            with TemporaryDirectory(dir=folder) as copies:
                copy = Path(shutil.copytree(original, Path(copies) / "copy"))
                forge(copy)
                reason = portfolio.refusal(copy)
                print(f"{forge.__name__}: {reason or 'not refused'}", flush=True)
                refused[forge.__name__] = reason in reasons
    return {
        "verified": [passed for passed, _ in verified],
        "refused": refused,
        "minutes_to_make": (middle - begin) / 60,
        "minutes_to_verify": (end - middle) / 60 / times,
    }


def of_the_leaderboard(run: Run, runs: Runs) -> Iterator[Row]:
    for track in ("samplers",) if run.quick else NAMES:

        def measure(track: str = track) -> dict:
            begin = time.monotonic()
            with TemporaryDirectory() as folder:
                most = 1 if run.quick else None
                again = board.race_again(track, Path(folder), most)
            return vars(again) | {"minutes": (time.monotonic() - begin) / 60}

        result = runs.once({"track": track}, measure)
        if result["better"]:
            what = f"leaderboard, {track}: listed as better, and again in a new race"
            yield repeated("C18", what, result["confirmed"], result["better"])
        what = f"leaderboard, {track}: a copy of the reference is listed as better"
        facts = vars(share(int(result["control_listed"]), 1))
        yield row("C18", what, "of 1", target=0.0, better="lower", **facts)
        what = f"leaderboard, {track}: minutes for this re-run"
        yield row("C18", what, "min", result["minutes"], better="lower")


WORK = {
    "stages": of_stages,
    "class": of_the_class,
    "certificate": of_the_certificate,
    "leaderboard": of_the_leaderboard,
}
# of a part's finished runs
KEYS = {
    "stages": {"exercise"},
    "class": {"class"},
    "certificate": {"certificate"},
    "leaderboard": {"track"},
}


def dated(rows: Iterator[Row], runs: Runs, keys: set[str]) -> Iterator[Row]:
    """The rows with the day on which the last of the runs that they rest on ended."""
    for each in rows:
        own = [line for line in runs.rows if keys & line.keys()]
        yield replace(each, date=end_time(*own)[:10])


def measure(run: Run) -> Iterator[Row]:
    closed = set(run.parts) - {"stages"}
    if closed and isolation() != "namespaces":
        raise Skip("this system permits no namespaces, in which strangers' code runs.")
    runs = run.finished_runs(anywhere=True)
    for part in PARTS:
        if part in run.parts:
            yield from dated(WORK[part](run, runs), runs, KEYS[part])


if __name__ == "__main__":
    SCRIPT.main(measure)
