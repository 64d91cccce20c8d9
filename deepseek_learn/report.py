"""What every tool returns: a small frozen dataclass that explains itself.

A report has `to_frame()` (pandas), `plot()` (plotly) and `why()` (a sentence or two of
explanation); a notebook displays it as that sentence above its table.
"""

import html
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Report:
    """Base of the result dataclasses; they implement `to_frame`, `plot` and `why`."""

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
