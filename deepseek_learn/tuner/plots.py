"""Plotly figures for a study."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import text
from .importance import EVALUATORS
from .results import SearchResults, Solution, short

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FRONT, KNEE, OTHER, OUTSIDE = "#1f5fa8", "#d9730d", "#b5b5b5", "#c98a8a"
PALETTE = ("#1f5fa8", "#d9730d", "#3a8f5c", "#8a5fb0", "#a0522d", "#666666")
LOG_ABOVE = 20  # an axis is logarithmic if its maximum / minimum exceeds this


def front(study: SearchResults, names: tuple[str, ...]) -> "go.Figure":
    """Plot the front of a study for one, two or three objectives.

    A single objective is plotted against the trial number.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    if len(names) == len(study.goals.names) == 2:
        _stairs(figure, study, names)
    add = figure.add_scatter3d if len(names) == 3 else figure.add_scatter
    for key, solutions, marker in _layers(study):
        columns = [[s.results[name].value for s in solutions] for name in names]
        if len(names) == 1:
            columns.insert(0, [s.number for s in solutions])
        options: dict[str, Any] = dict(zip("xyz", columns, strict=False))
        options |= {"mode": "markers", "name": text(f"tuner.layer_{key}")}
        options["hoverinfo"] = "text"
        options["hovertext"] = [configuration(s, names) for s in solutions]
        options["marker"] = _in_3d(marker) if len(names) == 3 else marker
        if key == "front" and len(names) == 2:
            options["error_x"], options["error_y"] = (
                _errors(solutions, name) for name in names
            )
        if solutions:
            add(**options)
    _label_axes(figure, study, names)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    margin = {"l": 70, "r": 20, "t": 50, "b": 60}
    return figure.update_layout(template="plotly_white", legend=legend, margin=margin)


def history(shares: "pd.Series") -> "go.Figure":
    """Plot the hypervolume after each trial."""
    import plotly.graph_objects as go

    line = {"color": FRONT, "shape": "hv"}
    figure = go.Figure(go.Scatter(x=shares.index, y=shares, mode="lines", line=line))
    figure.update_xaxes(title=text("tuner.trial_axis"))
    figure.update_yaxes(
        title=text("tuner.hypervolume_axis"), tickformat=".0%", rangemode="tozero"
    )
    return figure.update_layout(template="plotly_white")


def importances(shares: dict[str, dict[str, float]], evaluator: str) -> "go.Figure":
    """Plot the importances as horizontal bars, with one color per objective."""
    import plotly.graph_objects as go

    total: dict[str, float] = {}
    for objective_shares in shares.values():
        for name, share in objective_shares.items():
            total[name] = total.get(name, 0) + share
    order = sorted(total, key=total.__getitem__)  # plotly draws the first at the bottom
    figure = go.Figure()
    for (objective, objective_shares), color in zip(
        shares.items(), PALETTE * 9, strict=False
    ):
        values = [objective_shares.get(name, 0) for name in order]
        bar = {"marker_color": color, "orientation": "h", "name": objective}
        figure.add_bar(x=values, y=order, **bar)
    label = text("tuner.importance_axis", evaluator=EVALUATORS[evaluator])
    figure.update_xaxes(title=label, tickformat=".0%", range=[0, 1])
    legend = {"traceorder": "reversed"}
    return figure.update_layout(template="plotly_white", barmode="group", legend=legend)


def axis_title(study: SearchResults, name: str, gap: str = " ") -> str:
    """Return an axis title with the unit and source, as in `energy_j, J (estimate)`."""
    unit, sources = study.units(name), study.sources(name)
    title = f"{name}, {unit}" if unit else name
    if not sources:
        return title
    labels = ", ".join(_source(source) for source in sources[:3])
    return f"{title}{gap}({labels}{', …' * (len(sources) > 3)})"


def configuration(solution: Solution, names: tuple[str, ...] = ()) -> str:
    """Return the hover text of a trial, with its results and its configuration."""
    lines = [f"<b>{text('tuner.trial', number=solution.number)}</b>"]
    lines += [f"{n}: {solution.results[n]}" for n in names]
    lines += [f"{n} = {short(v)}" for n, v in solution.config.items()]
    return "<br>".join(lines)


def _layers(
    study: SearchResults,
) -> Iterator[tuple[str, tuple[Solution, ...], dict[str, Any]]]:
    """Yield `(key, solutions, marker)` for each layer of a plot, from back to front."""
    front_numbers = {s.number for s in study.front}
    feasible_numbers = {s.number for s in study.feasible}
    dominated = tuple(s for s in study.feasible if s.number not in front_numbers)
    infeasible = tuple(s for s in study.complete if s.number not in feasible_numbers)
    yield "outside", infeasible, {"color": OUTSIDE, "symbol": "x", "size": 6}
    yield "dominated", dominated, {"color": OTHER, "size": 6}
    yield "front", study.front, {"color": FRONT, "size": 9}
    if len(study.front) > 1:
        marker = {"color": KNEE, "symbol": "diamond", "size": 13}
        yield "knee", (study.knee(),), marker


def _stairs(figure: "go.Figure", study: SearchResults, names: tuple[str, ...]) -> None:
    """Draw the boundary of the region dominated by the front."""
    points = sorted([s.results[name].value for name in names] for s in study.front)
    x, y = zip(*points, strict=True) if points else ((), ())
    shape = "hv" if names[0] in study.goals.minimize else "vh"
    line = {"shape": shape, "color": FRONT, "width": 1}
    skip = {"hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, **skip)


def _in_3d(marker: dict[str, Any]) -> dict[str, Any]:
    style = marker | {"size": max(marker["size"] * 0.6, 4)}
    # plotly does not draw a small 3-D "x"
    return style | ({"symbol": "circle-open"} if style.get("symbol") == "x" else {})


def _label_axes(
    figure: "go.Figure", study: SearchResults, names: tuple[str, ...]
) -> None:
    gap = "<br>" if len(names) == 3 else " "
    axes = [
        {"title": axis_title(study, name, gap), **_scale(study, name)} for name in names
    ]
    if len(names) < 3:
        x, y = axes if len(names) == 2 else ({"title": text("tuner.trial_axis")}, *axes)
        figure.update_layout(xaxis=x, yaxis=y)
        return
    scene: dict[str, Any] = dict(zip(("xaxis", "yaxis", "zaxis"), axes, strict=True))
    scene["aspectmode"] = "cube"
    scene["camera"] = {"eye": {"x": 1.6, "y": 1.6, "z": 0.9}}  # keep the titles visible
    figure.update_layout(scene=scene, height=600)


def _errors(solutions: Iterable[Solution], name: str) -> dict[str, Any] | None:
    numbers = [s.results[name] for s in solutions]
    if all(m.low is None for m in numbers):
        return None
    above = [0 if m.high is None else m.high - m.value for m in numbers]
    below = [0 if m.low is None else m.value - m.low for m in numbers]
    style = {"thickness": 1, "width": 2, "color": "rgba(31,95,168,0.4)"}
    return {"array": above, "arrayminus": below, "symmetric": False, **style}


def _scale(study: SearchResults, name: str) -> dict[str, Any]:
    values = np.array([s.results[name].value for s in study.complete])
    if not len(values) or values.min() <= 0 or values.max() <= LOG_ABOVE * values.min():
        return {}
    first, last = np.floor(np.log10([values.min(), values.max()]))
    ticks = np.outer(10 ** np.arange(first, last + 1), [1, 2, 5]).ravel()
    # plotly labels ticks between powers of ten with one digit, such as 2 for 0.02
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]}


def _source(source: str) -> str:
    """Translate a known energy source; return any other source unchanged."""
    if source not in ("nvml", "rapl", "estimate", "not stated"):
        return source
    return text(f"tuner.source_{source.replace(' ', '_')}")
