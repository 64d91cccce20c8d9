"""Checks that apply to every report, in both languages."""

import html

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

from deepseek_learn import catalog
from deepseek_learn.report import Report


def chinese(said: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in said)


def check_report(report: Report, language: str) -> None:
    """Check the sentence, table, plot and HTML of a `report` created in `language`."""
    assert catalog.language() == language
    message = report.why()
    assert message == str(report)
    assert chinese(message) == (language == "zh")
    assert "{" not in message
    frame = report.to_frame()
    assert len(frame) > 0
    page = report._repr_html_()
    assert html.escape(message) in page
    assert all(str(row) in page for row in frame.index)
    figure = report.plot()
    assert isinstance(figure, go.Figure)
    assert len(figure.data) > 0
    words = figure.layout.yaxis.title.text or " ".join(figure.data[0].x)
    assert chinese(words) == (language == "zh")
    PlotlyJSONEncoder().encode(figure)
