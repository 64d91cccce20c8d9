"""Tables of a study's trials."""

from typing import Any

import pandas as pd

from ..measure.measured import Measured
from .engine import optuna
from .results import SearchResults, State, results_of, source

STATES = {State.COMPLETE: "complete", State.PRUNED: "pruned", State.FAIL: "failed"}
LAST = ("state", "on_front", "feasible", "seconds")


def trials(study: SearchResults) -> pd.DataFrame:
    """Return a table with one row per trial; see `Study.to_frame`."""
    front_numbers = {s.number for s in study.front}
    feasible_numbers = {s.number for s in study.feasible}
    rows = {}
    for trial in study.trials:
        row = dict(trial.params) | _cells(results_of(trial, study.goals))
        row |= {"state": STATES[trial.state], "on_front": trial.number in front_numbers}
        if study.goals.limits:
            row["feasible"] = trial.number in feasible_numbers
        row["seconds"] = trial.duration.total_seconds() if trial.duration else None
        rows[trial.number] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("number")
    columns = [column for column in frame.columns if column not in LAST]
    return frame[columns + [column for column in LAST if column in frame]]


def failures(study: SearchResults) -> pd.DataFrame:
    """Return a table with one row per failed trial; see `Study.failures`."""
    rows, fields = {}, ["kind", "reason", "traceback"]
    for trial in study.trials:
        if trial.state == State.FAIL:
            note = _failure(trial)
            rows[trial.number] = {k: note.get(k, "") for k in fields} | trial.params
    columns = fields + sorted({c for row in rows.values() for c in row} - set(fields))
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis("number")


def _cells(numbers: dict[str, Measured]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, number in numbers.items():
        cells[name] = number.value
        if number.low is not None:
            cells |= {f"{name}_low": number.low, f"{name}_high": number.high}
        if number.unit:
            cells[f"{name}_unit"] = number.unit
        if origin := source(name, number):
            cells[f"{name}_source"] = origin
    return cells


def _failure(trial: "optuna.trial.FrozenTrial") -> dict[str, str]:
    """Return the failure that was recorded for a trial.

    If the worker died before recording one, the trial is reported as lost.
    """
    if note := trial.user_attrs.get("failure"):
        return note
    worker = trial.user_attrs.get("worker", {})
    process = "process {pid} on {host}".format(**worker) if worker else "unknown"
    return {"kind": "lost", "reason": f"its worker died during the trial ({process})"}
