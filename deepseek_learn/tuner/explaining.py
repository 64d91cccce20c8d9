"""Explain a study in plain sentences: results, trade-offs, importances and caveats."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from ..catalog import text
from .importance import ENOUGH
from .results import SearchResults, Solution, State, short
from .tables import failures

# The fraction of random halves that must agree before a statement is called certain.
# With 0.8, our first choice, too many of these statements were wrong
# (`benchmarks/explanations.py` counts them).
STEADY = 1.0


class MostImportant(NamedTuple):
    """The most important hyperparameter for an objective; see `Study.steadiness`."""

    name: str
    share: float
    steadiness: float


def why(study: SearchResults, most_important: dict[str, MostImportant]) -> str:
    """Return the explanation of a study as a single string; see `Study.why`.

    Args:
        most_important: the most important hyperparameter for each objective, or {} if
            there are too few results.
    """
    sentences = [_counts(study)]
    if study.end_reason:
        sentences.insert(0, text(f"tuner.ended_{study.end_reason}"))
    if study.complete and not study.front:
        sentences.append(_nothing_within(study))
    if study.front:
        sentences += _front(study)
    if most_important:
        sentences += _importances(most_important, len(study.complete))
    sentences += [
        _source(study, n) for n in study.goals.names if n.startswith("energy")
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _counts(study: SearchResults) -> str:
    failed = failures(study)
    pruned = sum(trial.state == State.PRUNED for trial in study.trials)
    summary = text(
        "tuner.counts",
        finished=len(study.trials),
        complete=len(study.complete),
        pruned=pruned,
        failed=len(failed),
        front=len(study.front),
    )
    if len(failed):
        reason, count = failed["reason"].value_counts().iloc[:1].items().__next__()
        summary += " " + text("tuner.failed", reason=reason, count=count)
    return summary


def _nothing_within(study: SearchResults) -> str:
    """Describe the trial that comes closest to meeting the limits.

    Its distance is the largest excess over a limit, relative to that limit.
    """

    def excess(solution: Solution) -> float:
        results, limits = solution.results, study.goals.limits.items()
        if not set(study.goals.limits) <= set(results):
            return math.inf
        return max((results[n].value - b) / (abs(b) or 1) for n, b in limits)

    nearest = min(study.complete, key=excess)
    limits = ", ".join(f"{n} ≤ {b:g}" for n, b in study.goals.limits.items())
    values = _values(nearest, study.goals.limits)
    return text(
        "tuner.none_within", limits=limits, number=nearest.number, values=values
    )


def _front(study: SearchResults) -> list[str]:
    names = study.goals.names
    if len(study.front) == 1:
        (solution,) = study.front
        facts = {"values": _values(solution, names), "config": _config(solution.config)}
        return [text("tuner.one_best", number=solution.number, **facts)]
    pairs = pairwise(names)
    sentences = [
        _trade(study, x, y, _end(study, x, y), _end(study, y, x)) for x, y in pairs
    ]
    knee = study.knee()
    facts = {"values": _values(knee, names), "config": _config(knee.config)}
    return [*sentences, text("tuner.knee", number=knee.number, **facts)]


def _end(study: SearchResults, name: str, other: str) -> Solution:
    """Return the solution on the front with the best `name`; `other` breaks ties."""

    def losses(solution: Solution) -> list[float]:
        minimized = study.goals.minimize
        return [
            solution.results[n].value * (1 if n in minimized else -1)
            for n in (name, other)
        ]

    return min(study.front, key=losses)


def _trade(study: SearchResults, x: str, y: str, a: Solution, b: Solution) -> str:
    """Describe the trade-off between `a` (with the best x) and `b` (with the best y).

    The sentence states what one loses in x and gains in y by switching from `a` to `b`,
    and which hyperparameters change.
    """
    if a.number == b.number:
        return text("tuner.no_trade", x=x, y=y, number=a.number)
    pairs = {
        n: (a.config.get(n, "–"), b.config.get(n, "–")) for n in a.config | b.config
    }
    differences = [
        f"{n} {short(x)} → {short(y)}" for n, (x, y) in pairs.items() if x != y
    ]
    facts: dict[str, Any] = {
        "from_x": short(a.results[x].value),
        "to_x": short(b.results[x].value),
        "from_y": short(a.results[y].value),
        "to_y": short(b.results[y].value),
    }
    place: dict[str, Any] = {"first": a.number, "second": b.number, "x": x, "y": y}
    return text("tuner.trade", changes=", ".join(differences), **place, **facts)


def _importances(most_important: dict[str, MostImportant], results: int) -> list[str]:
    sentences = []
    for objective, (name, share, steadiness) in most_important.items():
        if not share > 0:
            sentences.append(text("tuner.nothing_matters", objective=objective))
            continue
        facts = {"objective": objective, "name": name}
        facts |= {"share": f"{share:.0%}", "steady": f"{steadiness:.0%}"}
        certainty = "sure" if steadiness >= STEADY else "unsure"
        sentences.append(text(f"tuner.matters_{certainty}", **facts))
    if results < ENOUGH:
        sentences.append(text("tuner.too_few", count=results, enough=ENOUGH))
    return sentences


def _source(study: SearchResults, name: str) -> str:
    sources = study.sources(name)
    if not sources:
        return ""
    if len(sources) > 1:
        return text("tuner.mixed_sources", name=name, sources=", ".join(sources))
    key = sources[0].replace(" ", "_")
    if key in ("nvml", "rapl", "estimate", "not_stated"):
        return text(f"tuner.from_{key}", name=name)
    return text("tuner.from_other", name=name, source=sources[0])


def _values(solution: Solution, names: Iterable[str]) -> str:
    results = solution.results
    return ", ".join(f"{name} {results[name]}" for name in names if name in results)


def _config(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} {short(value)}" for name, value in config.items())
