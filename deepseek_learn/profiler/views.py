"""Plotly figures for a profile."""

from collections.abc import Container

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..catalog import text
from .tables import ProfileTables
from .verdicts import BOUNDS, Verdict

# metric → (column of the table, unit)
METRICS = {
    "flops": ("gflops", "GFLOPs"),
    "parameters": ("parameters", ""),
    "bytes": ("moved_mib", "MiB"),
    "activation": ("alive_mib", "MiB"),
    "latency": ("latency_ms", "ms"),
}
COLORS = {"compute": "#7aa6d1", "memory": "#f5a55a", "overhead": "#c79bbd"}


def tree(profile: ProfileTables, metric: str, kind: str = "icicle") -> go.Figure:
    """Plot the module tree as an icicle chart or a treemap.

    The part of a module's area that is not covered by submodules represents work done
    by the module itself.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {tuple(METRICS)}; got {metric!r}.")
    if kind not in ("icicle", "treemap"):
        raise ValueError(f'kind must be "icicle" or "treemap"; got {kind!r}.')
    column, unit = METRICS[metric]
    inclusive = profile.to_frame(inclusive=True)
    frame = inclusive.copy()
    frame["moved_mib"] = frame["read_mib"] + frame["written_mib"]
    frame = frame[(frame[column] > 0) | (frame.index == "")]
    parents = {path: _parent(path, frame.index) for path in frame.index}
    bounds = {v.layer: v for v in profile.verdicts(None)}
    chart = go.Icicle if kind == "icicle" else go.Treemap
    figure = go.Figure(
        chart(
            ids=[path or "/" for path in frame.index],
            parents=list(parents.values()),
            labels=[
                path.removeprefix(f"{parents[path]}.") or profile.model
                for path in frame.index
            ],
            values=frame[column],
            branchvalues="total",
            text=frame["type"],
            texttemplate="%{label}<br>%{percentRoot:.1%}",
            customdata=[_hover_text(bounds.get(path)) for path in frame.index],
            hovertemplate=(
                "%{id} (%{text})<br>%{value:.4g} "
                + unit
                + ", %{percentRoot:.1%}<br>%{customdata}<extra></extra>"
            ),
            marker={"colors": [_color(bounds.get(path)) for path in frame.index]},
        )
    )
    title = text(f"profiler.metric_{metric}", unit=unit)
    legend = ", ".join(
        f"<span style='color:{color}'>■</span> {text(f'profiler.bound_{bound}')}"
        for bound, color in COLORS.items()
    )
    return figure.update_layout(
        title=f"{title}<br><sup>{legend}</sup>",
        margin={"l": 10, "r": 10, "t": 60, "b": 10},
        height=520,
    )


def _color(verdict: Verdict | None) -> str:
    """Return the color for a module's bottleneck, or gray if it has no verdict."""
    return COLORS[verdict.bound] if verdict else "#d9d9d9"


def _hover_text(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    return f"{text(f'profiler.bound_{verdict.bound}')}, {verdict.of_roof:.0%}"


def _parent(path: str, paths: Container[str]) -> str:
    """Return the nearest ancestor that is shown, or "" for the model itself."""
    if not path:
        return ""
    parent = path.rpartition(".")[0]
    while parent and parent not in paths:
        parent = parent.rpartition(".")[0]
    return parent or "/"


def timeline(profile: ProfileTables) -> go.Figure:
    """Plot the live activation memory after each operator, with a line at the peak."""
    memory = profile.memory
    rows = memory.timeline
    figure = go.Figure(
        go.Scatter(
            x=rows.index,
            y=rows["live_mib"],
            fill="tozeroy",
            line={"shape": "hv", "color": "#4c78a8"},
            text=rows["layer"].replace("", profile.model) + ": " + rows["operator"],
            hovertemplate="%{text}<br>%{y:.2f} MiB<extra></extra>",
            name=text("profiler.tensors"),
        )
    )
    if (rows["phase"] == "backward").any():
        start = int((rows["phase"] == "backward").idxmax())
        figure.add_vline(x=start, line_dash="dot", line_color="#888888")
        figure.add_annotation(
            x=start, y=0, yref="paper", showarrow=False, xanchor="left", yanchor="bottom",
            text=text("profiler.backward"),
        )  # fmt: skip
    figure.add_hline(
        y=memory.peak_mib, line_dash="dash", line_color="#e45756",
        annotation_text=text(
            "profiler.peak", peak=memory.peak_mib, workspace=memory.workspace_mib
        ),
        annotation_position="top left",
    )  # fmt: skip
    figure.update_xaxes(title=text("profiler.operators_axis"))
    figure.update_yaxes(
        title=text("profiler.live_axis"), range=[0, 1.15 * (memory.peak_mib or 1)]
    )
    return figure.update_layout(template="plotly_white", title=text("profiler.memory"))


def roofline(profile: ProfileTables) -> go.Figure:
    """Plot the rooflines and one point per layer, sized by its share of the time."""
    roof, figure = profile.roof, go.Figure()
    work = profile.operators.groupby("layer")[["flops", "latency_ms"]].sum()
    verdicts = [v for v in profile.verdicts(None) if v.intensity > 0]
    for bound in BOUNDS:
        group = [v for v in verdicts if v.bound == bound]
        rates = [
            work.loc[v.layer, "flops"] / work.loc[v.layer, "latency_ms"] / 1e6
            for v in group
        ]
        figure.add_scatter(
            x=[v.intensity for v in group],
            y=rates,
            mode="markers",
            name=text(f"profiler.bound_{bound}"),
            marker={
                "color": COLORS[bound],
                "size": [8 + 60 * v.share**0.5 for v in group],
                "opacity": 0.6,
            },
            text=[f"{v.layer or profile.model} ({v.type})" for v in group],
            customdata=[[100 * v.share, 100 * v.of_roof] for v in group],
            hovertemplate=text("profiler.roof_hover") + "<extra></extra>",
        )
    intensities = [v.intensity for v in verdicts] or [1.0]
    low, high = min(*intensities, 0.1) / 2, max(*intensities, roof.ridge) * 4
    peaks = {"GEMM": roof.gemm_gflops, text("profiler.conv"): roof.conv_gflops}
    for (name, peak), dash in zip(peaks.items(), ("solid", "dash"), strict=True):
        ridge = peak / roof.bandwidth_gbs
        figure.add_scatter(
            x=[low, ridge, high],
            y=[low * roof.bandwidth_gbs, peak, peak],
            mode="lines",
            line={"color": "#444444", "dash": dash},
            name=f"{name}: {peak:.0f} GFLOP/s, {roof.bandwidth_gbs:.1f} GB/s",
            hoverinfo="skip",
        )
    figure.update_xaxes(type="log", title=text("profiler.intensity_axis"))
    figure.update_yaxes(type="log", title="GFLOP/s")
    return figure.update_layout(
        template="plotly_white",
        title=text("profiler.roofline"),
        legend={"orientation": "h", "y": -0.2},
        height=520,
    )


def histograms(profile: ProfileTables, top: int = 12) -> go.Figure:
    """Plot a histogram for each of the largest parameters, in model order."""
    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top must be a positive integer; got {top!r}.")
    parameters = [(n, w) for n, w in profile.weights.items() if len(w["bins"])]
    largest = sorted(parameters, key=lambda item: -item[1]["count"])[:top]
    parameters = [item for item in parameters if item in largest]
    columns = 3
    rows = max(-(-len(parameters) // columns), 1)
    titles = [f"{name}<br>{int(w['count']):,}" for name, w in parameters]
    figure = make_subplots(rows, columns, subplot_titles=titles)
    for index, (name, w) in enumerate(parameters):
        width = (w["max"] - w["min"]) / len(w["bins"]) or 1
        centers = [w["min"] + (i + 0.5) * width for i in range(len(w["bins"]))]
        figure.add_bar(
            x=centers, y=w["bins"], width=width, name=name, marker_color="#4c78a8",
            row=index // columns + 1, col=index % columns + 1,
        )  # fmt: skip
    figure.update_annotations(font_size=11)
    return figure.update_layout(
        template="plotly_white",
        title=text("profiler.weights"),
        showlegend=False,
        bargap=0,
        height=180 + 190 * rows,
    )
