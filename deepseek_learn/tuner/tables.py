"""A study's trials as tables, and what Optuna's record of one holds."""

from typing import Any

import pandas as pd

from ..measure.measured import Measured
from .engine import optuna
from .goals import Goals

State = optuna.trial.TrialState
STATES = {State.COMPLETE: "complete", State.PRUNED: "pruned", State.FAIL: "failed"}
LAST = ("state", "on_front", "feasible", "seconds")


def trials(study: Any) -> pd.DataFrame:
    """See `Study.to_frame`."""
    front = {s.number for s in study.front}
    within = {s.number for s in study.feasible}
    rows = {}
    for trial in study.trials:
        row = dict(trial.params) | _cells(results(trial, study.goals))
        row |= {"state": STATES[trial.state], "on_front": trial.number in front}
        if study.goals.limits:
            row["feasible"] = trial.number in within
        row["seconds"] = trial.duration.total_seconds() if trial.duration else None
        rows[trial.number] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("number")
    first = [column for column in frame.columns if column not in LAST]
    return frame[first + [column for column in LAST if column in frame]]


def failures(study: Any) -> pd.DataFrame:
    """See `Study.failures`."""
    rows, fields = {}, ["kind", "reason", "traceback"]
    for trial in study.trials:
        if trial.state == State.FAIL:
            note = _failure(trial)
            rows[trial.number] = {k: note.get(k, "") for k in fields} | trial.params
    columns = fields + sorted({c for row in rows.values() for c in row} - set(fields))
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis("number")


def results(trial: "optuna.trial.FrozenTrial", goals: Goals) -> dict[str, Measured]:
    """What its objective returned, or what Optuna's `study.tell` was told."""
    if kept := trial.user_attrs.get("results"):
        return {name: Measured(**fields) for name, fields in kept.items()}
    if trial.state != State.COMPLETE:
        return {}
    told = dict(zip(goals.names, trial.values, strict=True))
    excess = trial.constraints
    within = {n: bound + excess[n] for n, bound in goals.limits.items() if n in excess}
    return {name: Measured(value) for name, value in (within | told).items()}


def source(name: str, number: Measured) -> str:
    """Where a result comes from; energy without a source has "not stated"."""
    if not number.source and name.startswith("energy"):
        return "not stated"
    return number.source


def _cells(numbers: dict[str, Measured]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, number in numbers.items():
        cells[name] = number.value
        if number.low is not None:
            cells |= {f"{name}_low": number.low, f"{name}_high": number.high}
        if number.unit:
            cells[f"{name}_unit"] = number.unit
        if said := source(name, number):
            cells[f"{name}_source"] = said
    return cells


def _failure(trial: "optuna.trial.FrozenTrial") -> dict[str, str]:
    """Its note; a worker that died could leave none."""
    if note := trial.user_attrs.get("failure"):
        return note
    worker = trial.user_attrs.get("worker", {})
    who = "process {pid} on {host}".format(**worker) if worker else "unknown"
    return {"kind": "lost", "reason": f"its worker ended before it did ({who})"}
