"""The base class of the results returned by the library's tools.

A report is a small frozen dataclass. Its method `to_frame()` returns a pandas
DataFrame, `plot()` returns a plotly figure, and `why()` explains the result in a
sentence or two. A notebook displays the explanation followed by the table.
"""

import html
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Report:
    """Base class for results; subclasses implement `to_frame`, `plot` and `why`."""

    def to_frame(self) -> pd.DataFrame:
        raise NotImplementedError

    def plot(self) -> "go.Figure":
        raise NotImplementedError

    def why(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(float_format=lambda x: f"{x:.4g}")
        return f"<p>{html.escape(self.why())}</p>{table}"

    def __str__(self) -> str:
        return self.why()
