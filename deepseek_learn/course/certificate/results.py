"""The recorded results of a portfolio, and the same numbers computed once more."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..lessons import STAGES
from ..problems import load
from . import scoring
from .environment import check_environment, environment
from .learner import RUNS, Learner, read_json, write_json
from .portfolio import Portfolio
from .refusal import Refused
from .running import check_config
from .scoring import Interval
from .tasks import draw, tasks

PROTOCOL = 2  # of the tasks, the scores and the rules
PROJECTS = 3  # at least
FIELDS = {"protocol", "made", "projects", "graded"}
ROW = ("seed", "training_seed", "score", "baseline")
SAME = 1e-6  # how far a recorded number may be from the recomputed one


@dataclass(frozen=True)
class Run:
    """One run of a project.

    Attributes:
        seed: draws the data; the project never gets it.
        training_seed: what the project gets instead.
        score: of its predictions.
        baseline: the score of the simplest classifier on the same data.
        predictions: one class for each test.
    """

    seed: int
    training_seed: int
    score: float
    baseline: float
    predictions: tuple[int, ...]

    def check_better(self, task: str) -> None:
        """Raise `Refused` unless the run is above the baseline of its own data."""
        if not self.score > self.baseline:
            values = {"score": f"{self.score:.3f}", "base": f"{self.baseline:.3f}"}
            raise Refused("run_not_better", project=task, seed=self.seed, **values)


@dataclass(frozen=True)
class Project:
    """A project and its runs."""

    task: str
    runs: tuple[Run, ...]

    @property
    def interval(self) -> Interval:
        return Interval.of([r.score for r in self.runs], len(self.runs[0].predictions))

    @property
    def baseline(self) -> float:
        return sum(run.baseline for run in self.runs) / len(self.runs)

    def check(self) -> None:
        """Check that the runs are better than the baseline, and that they agree.

        Raises:
            Refused: unless each run, and their mean, beat the baseline, or if the
                interval is so wide that far worse runs lie in it.
        """
        for run in self.runs:
            run.check_better(self.task)
        scores = [run.score for run in self.runs]
        if not scoring.is_better(scores, [run.baseline for run in self.runs]):
            values = {
                "mean": f"{self.interval.mean:.3f}",
                "base": f"{self.baseline:.3f}",
            }
            raise Refused("not_better", project=self.task, **values)
        if self.interval.is_wide:
            values = {"interval": str(self.interval), "most": f"{scoring.REACH:g}"}
            raise Refused("wide", project=self.task, **values)


@dataclass(frozen=True)
class Results:
    """All results of a portfolio."""

    made: str
    projects: tuple[Project, ...]
    graded: tuple[str, ...]

    def files(self, learner: Learner) -> dict[str, bytes]:
        """Return the files that record them."""
        files = {"environment.json": write_json(environment())}
        rows: dict[str, Any] = {}
        for project in self.projects:
            rows[project.task] = [
                {name: getattr(run, name) for name in ROW} for run in project.runs
            ]
            for run in project.runs:
                path = f"runs/{project.task}/{run.seed}.json"
                files[path] = (json.dumps(list(run.predictions)) + "\n").encode()
        content = {"protocol": PROTOCOL, "made": self.made, "projects": rows}
        seeds = {id: learner.graded_seed(id) for id in self.graded}
        files["results.json"] = write_json(content | {"graded": seeds})
        return files

    @classmethod
    def of(cls, portfolio: Portfolio, learner: Learner) -> "Results":
        """Read the recorded results and compute each of their numbers again.

        Nothing of the learner's runs: scores follow from the recorded predictions and
        from the tests' classes, which follow from the seed.

        Raises:
            Refused: if a number differs, a seed is not this learner's, or something is
                missing; the message says what.
        """
        record = read_json(portfolio, "results.json", FIELDS)
        if record["protocol"] != PROTOCOL:
            raise Refused("protocol", found=record["protocol"], known=PROTOCOL)
        check_date(record["made"])
        names = projects(portfolio)
        if not isinstance(record["projects"], dict) or set(record["projects"]) != set(
            names
        ):
            raise Refused("malformed", file="results.json")
        graded = graded_answers(portfolio)
        if record["graded"] != {id: learner.graded_seed(id) for id in graded}:
            raise Refused("salt", project="graded")
        recomputed = (
            recompute(portfolio, learner, name, record["projects"][name])
            for name in names
        )
        results = cls(record["made"], tuple(recomputed), tuple(graded))
        check_environment(portfolio)
        expected = {path for path in results.files(learner) if path.startswith("runs/")}
        if extra := {p for p in portfolio.files if p.startswith("runs/")} - expected:
            raise Refused("unknown_file", file=min(extra))
        return results


def recompute(portfolio: Portfolio, learner: Learner, task: str, rows: Any) -> Project:
    """Return a project's runs, with scores computed from their predictions."""
    seeds = learner.seeds(task), learner.training_seeds(task)
    for name, own in zip(ROW, seeds, strict=False):
        if [row_value(row, name) for row in as_rows(rows)] != own:
            raise Refused("salt", project=task)
    runs = []
    for row, seed, training_seed in zip(rows, *seeds, strict=True):
        predictions = read_predictions(portfolio, f"runs/{task}/{seed}.json")
        run = measure_run(portfolio, task, seed, training_seed, predictions)
        for name, value in (("score", run.score), ("baseline", run.baseline)):
            recorded = row_value(row, name)
            if type(recorded) is not float or not abs(recorded - value) < SAME:
                values = {"recorded": recorded, "value": f"{value:.6f}"}
                raise Refused("number", project=task, seed=seed, what=name, **values)
        runs.append(run)
    project = Project(task, tuple(runs))
    project.check()
    return project


def measure_run(
    portfolio: Portfolio,
    task: str,
    seed: int,
    training_seed: int,
    predictions: list[int],
) -> Run:
    """Return a run with the scores of its predictions.

    Raises:
        Refused: if there is not one prediction for each test.
    """
    data = draw(task, seed, portfolio.files.get(f"projects/{task}/data.npz"))
    if len(predictions) != len(data.test_y):
        raise Refused("malformed", file=f"runs/{task}/{seed}.json")
    values = scoring.score(predictions, data.test_y), scoring.baseline(data)
    return Run(seed, training_seed, *values, tuple(predictions))


def projects(portfolio: Portfolio) -> list[str]:
    """Return the tasks of a portfolio's projects.

    Raises:
        Refused: if there are too few, one is unknown, or lacks a file.
    """
    names = sorted({path.split("/")[0] for path in portfolio.below("projects")})
    for name in names:
        if name not in tasks:
            raise Refused("unknown_file", file=f"projects/{name}")
        for file in ("project.py", "config.json"):
            if f"projects/{name}/{file}" not in portfolio.files:
                raise Refused("missing", file=f"projects/{name}/{file}")
        path = f"projects/{name}/config.json"
        check_config(portfolio.files[path], path)
        if name != "own" and f"projects/{name}/data.npz" in portfolio.files:
            raise Refused("unknown_file", file=f"projects/{name}/data.npz")
    if len(names) < PROJECTS:
        raise Refused("few_projects", count=len(names), least=PROJECTS)
    return names


def graded_answers(portfolio: Portfolio) -> list[str]:
    """Return the ids of the graded answers, one or more of each stage.

    Raises:
        Refused: if a stage has none, or an answer belongs to no graded problem.
    """
    stages = {p.id: p.stage for p in load() if p.kind == "graded"}
    ids = sorted(path.removesuffix(".py") for path in portfolio.below("graded"))
    for id in ids:
        if id not in stages:
            raise Refused("unknown_file", file=f"graded/{id}.py")
    for stage in STAGES:
        if stage not in {stages[id] for id in ids}:
            choices = ", ".join(id for id in stages if stages[id] == stage)
            raise Refused("stage", stage=stage, problems=choices)
    return ids


def check_date(words: Any) -> None:
    try:
        if date.fromisoformat(words).isoformat() == words:
            return
    except (TypeError, ValueError):
        pass
    raise Refused("malformed", file="results.json")


def as_rows(rows: Any) -> list:
    if not isinstance(rows, list) or len(rows) != RUNS:
        raise Refused("malformed", file="results.json")
    return rows


def row_value(row: Any, name: str) -> Any:
    if not isinstance(row, dict) or set(row) != set(ROW):
        raise Refused("malformed", file="results.json")
    return row[name]


def read_predictions(portfolio: Portfolio, path: str) -> list[int]:
    if path not in portfolio.files:
        raise Refused("missing", file=path)
    try:
        record = json.loads(portfolio.files[path])
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, list) or not all(type(label) is int for label in record):
        raise Refused("malformed", file=path)
    return record
