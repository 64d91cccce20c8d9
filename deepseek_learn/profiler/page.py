"""Write a profile to a single HTML file that works offline."""

import html
from pathlib import Path

import pandas as pd

from ..catalog import language, text
from ..files import atomic_write
from .tables import ProfileTables
from .views import histograms, roofline, timeline, tree

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px;
       padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #eee; }
tbody th { text-align: left; font-weight: normal; font-family: monospace; }
thead th { position: sticky; top: 0; background: #fff; }
.table { overflow-x: auto; max-height: 34rem; }
"""


def write(profile: ProfileTables, path: Path) -> Path:
    """Write a profile's verdicts, figures and tables to `path`; return the path."""
    plots = [
        tree(profile, "latency"),
        tree(profile, "flops"),
        timeline(profile),
        roofline(profile),
        histograms(profile),
    ]
    figures = [
        plot.to_html(full_html=False, include_plotlyjs=(i == 0))
        for i, plot in enumerate(plots)
    ]
    verdicts = "".join(f"<li>{html.escape(str(v))}</li>" for v in profile.verdicts())
    title = html.escape(f"{profile.model} · {text('profiler.title')}")
    parts = [
        f"<h1>{title}</h1><p>{html.escape(profile.why())}</p>",
        f"<h2>{text('profiler.verdicts')}</h2><ol>{verdicts}</ol>",
        *figures,
        f"<h2>{text('profiler.layers')}</h2>{_table(profile.to_frame())}",
        f"<h2>{text('profiler.operators')}</h2>{_table(profile.to_frame('operator'))}",
        f"<h2>{text('profiler.uncounted')}</h2>{_uncounted(profile)}",
    ]
    page = (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _table(frame: pd.DataFrame) -> str:
    frame = frame.rename(index={"": "(model)"})
    table = frame.to_html(float_format=lambda x: f"{x:,.4g}", border=0)
    return f'<div class="table">{table}</div>'


def _uncounted(profile: ProfileTables) -> str:
    frame = profile.uncounted
    return _table(frame) if len(frame) else f"<p>{text('profiler.all_counted')}</p>"
