"""A study in words: what it found, what bought what, what mattered, what to doubt."""

import math
from itertools import pairwise
from typing import Any

from ..catalog import text
from .importance import ENOUGH, FEWEST

# The share of random halves that must agree. With 0.8, tried first, too many sentences
# given as sure were wrong (`benchmarks/explanations.py` counts them).
STEADY = 1.0


def why(study: Any) -> str:
    """The sentences of `Study.why`."""
    said = [_counts(study)]
    if study.ended:
        said.insert(0, text(f"tuner.ended_{study.ended}"))
    if study.complete and not study.front:
        said.append(_nothing_within(study))
    if study.front:
        said += _front(study)
    if len(study.complete) >= FEWEST and len(study.space) > 1:
        said += _importances(study)
    said += [_source(study, n) for n in study.goals.names if n.startswith("energy")]
    return " ".join(sentence for sentence in said if sentence)


def _counts(study: Any) -> str:
    failures = study.failures()
    pruned = len(study.trials) - len(study.complete) - len(failures)
    said = text(
        "tuner.counts",
        finished=len(study.trials),
        complete=len(study.complete),
        pruned=pruned,
        failed=len(failures),
        front=len(study.front),
    )
    if len(failures):
        reason, count = failures["reason"].value_counts().iloc[:1].items().__next__()
        said += " " + text("tuner.failed", reason=reason, count=count)
    return said


def _nothing_within(study: Any) -> str:
    """The trial that missed the limits by least, as a share of each."""

    def excess(solution: Any) -> float:
        known, limits = solution.results, study.goals.limits.items()
        if not set(study.goals.limits) <= set(known):
            return math.inf
        return max((known[n].value - b) / (abs(b) or 1) for n, b in limits)

    nearest = min(study.complete, key=excess)
    limits = ", ".join(f"{n} ≤ {b:g}" for n, b in study.goals.limits.items())
    values = _values(nearest, study.goals.limits)
    return text(
        "tuner.none_within", limits=limits, number=nearest.number, values=values
    )


def _front(study: Any) -> list[str]:
    names = study.goals.names
    if len(study.front) == 1:
        (only,) = study.front
        facts = {"values": _values(only, names), "config": _config(only.config)}
        return [text("tuner.one_best", number=only.number, **facts)]
    pairs = pairwise(names)
    said = [_trade(study, x, y, _end(study, x, y), _end(study, y, x)) for x, y in pairs]
    chosen = study.knee()
    facts = {"values": _values(chosen, names), "config": _config(chosen.config)}
    return [*said, text("tuner.knee", number=chosen.number, **facts)]


def _end(study: Any, name: str, other: str) -> Any:
    """The front's best in `name`; among equals the best in `other`."""

    def losses(solution: Any) -> list[float]:
        small = study.goals.minimize
        return [
            solution.results[n].value * (1 if n in small else -1) for n in (name, other)
        ]

    return min(study.front, key=losses)


def _trade(study: Any, x: str, y: str, a: Any, b: Any) -> str:
    """From the best x to the best y: what it costs, what it buys, what changed."""
    if a.number == b.number:
        return text("tuner.no_trade", x=x, y=y, number=a.number)
    pairs = {
        n: (a.config.get(n, "–"), b.config.get(n, "–")) for n in a.config | b.config
    }
    changed = [
        f"{n} {_short(x)} → {_short(y)}" for n, (x, y) in pairs.items() if x != y
    ]
    facts = {
        "from_x": _short(a.results[x].value),
        "to_x": _short(b.results[x].value),
        "from_y": _short(a.results[y].value),
        "to_y": _short(b.results[y].value),
    }
    place = {"first": a.number, "second": b.number, "x": x, "y": y}
    return text("tuner.trade", changes=", ".join(changed), **place, **facts)


def _importances(study: Any) -> list[str]:
    count = len(study.complete)
    said = []
    for objective, shares in study.importances().items():
        name = next(iter(shares))
        if not shares[name] > 0:
            said.append(text("tuner.nothing_matters", objective=objective))
            continue
        steady = study.steadiness[objective]
        facts = {"objective": objective, "name": name}
        facts |= {"share": f"{shares[name]:.0%}", "steady": f"{steady:.0%}"}
        sure = "sure" if steady >= STEADY else "unsure"
        said.append(text(f"tuner.matters_{sure}", **facts))
    if count < ENOUGH:
        said.append(text("tuner.too_few", count=count, enough=ENOUGH))
    return said


def _source(study: Any, name: str) -> str:
    sources = study.sources(name)
    if not sources:
        return ""
    if len(sources) > 1:
        return text("tuner.mixed_sources", name=name, sources=", ".join(sources))
    key = sources[0].replace(" ", "_")
    if key in ("nvml", "rapl", "estimate", "not_stated"):
        return text(f"tuner.from_{key}", name=name)
    return text("tuner.from_other", name=name, source=sources[0])


def _values(solution: Any, names: Any) -> str:
    known = solution.results
    return ", ".join(f"{name} {known[name]}" for name in names if name in known)


def _config(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in config.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
