"""What every tool answers with: a small frozen dataclass that explains itself.

A report has `to_frame()` (pandas), `plot()` (plotly), `why()` (a sentence or two of
reason) and shows itself in a notebook as its sentence over its table.
"""

import html
from typing import Any

import pandas as pd


class Report:
    """Base of the result dataclasses; they fill in `to_frame`, `plot` and `why`."""

    def to_frame(self) -> pd.DataFrame:
        raise NotImplementedError

    def plot(self) -> Any:
        raise NotImplementedError

    def why(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(float_format=lambda x: f"{x:.4g}")
        return f"<p>{html.escape(self.why())}</p>{table}"

    def __str__(self) -> str:
        return self.why()
