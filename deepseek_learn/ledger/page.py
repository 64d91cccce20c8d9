"""The book's ledger page: all claims on one screen, and each claim's figures, folded.

A row of a claim's table is a figure that has a target, with a column for each machine. The
protocol, the readings and the details of each script are a page of their own, which the
ledger shows in a frame once it is unfolded.

The tables are HTML, because `book/_assets/ledger.js` filters and sorts them: by
`data-verdict` on a row, `data-machine` on the title of a column, `data-value` on a cell
(else by its text). Without the script, everything is shown.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from ..catalog import choose, language, text
from .claim import RANKS, Claim, Figure
from .results import Result, machine, same_machine
from .rows import by_figure
from .wording import (
    DASH,
    counts,
    measured,
    number,
    origin,
    remarks,
    target,
    verdict_text,
    what,
)  # fmt: skip

if TYPE_CHECKING:
    from .rows import Row

SCRIPTS = "_static/ledger"  # the folder of the scripts' pages in the book
STYLE = """
:root { color-scheme: light dark; font: 14px/1.35 system-ui, sans-serif; }
body { margin: .5rem; } pre { white-space: pre-wrap; font-size: 12px; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; }
:is(th, td) { text-align: left; vertical-align: top; padding: .25rem .5rem .25rem 0;
  border-bottom: 1px solid #8886; }
ul { list-style: none; margin: 0; padding: 0; font-size: 12px; }
:is(code, h1, th, td, ul) { overflow-wrap: anywhere; }
"""


def to_markdown(claims: Sequence["Claim"], lang: str | None = None) -> str:
    """Return the Markdown of all claims: the filters, then a section for each claim."""
    parts = [filters(claims, lang), *(section(claim, lang) for claim in claims)]
    return "\n\n".join(parts) + "\n"


def glance(
    claims: Sequence["Claim"], lang: str | None = None, links: bool = True
) -> str:
    """Return the table of all claims: the claim, the figure that decides, the verdict.

    Args:
        claims: the claims, one row each.
        lang: the language of the words.
        links: whether the claim leads to its section (`#c6`) of the same page.
    """
    rows = []
    for claim in claims:
        name, says = claim.name, escape(choose(claim.says, lang))
        title = f'<a href="#{name.lower()}">{says}</a>' if links else says
        cells = [
            _cell(f"<b>{name}</b> {title}", name[1:].zfill(2)),
            *_figure(claim, lang),
            _verdict(claim.verdict, lang),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    titles = [
        _title(text(f"ledger.column_{name}", lang))
        for name in ("claim", "figure", "target", "verdict")
    ]
    return _table("ledger-glance", text("ledger.glance", lang), titles, rows)


def filters(claims: Sequence["Claim"], lang: str | None = None) -> str:
    """Return the controls that filter the figures of all claims."""
    figures = [figure for claim in claims for figure in claim.rows]
    present = {figure.verdict for figure in figures}
    verdicts = [(v, verdict_text(v, lang)) for v in RANKS if v in present]
    here = machine()
    rows = sorted((row for f in figures for row in f.columns), key=_machine)
    machines = {
        _machine(row): f"{_machine(row)}{_here(row, here, lang)}" for row in rows
    }
    boxes = _select("verdict", verdicts, lang)
    boxes += _select("machine", list(machines.items()), lang)
    words = escape(text("ledger.matching", lang, count="{count}"))
    count = f'<output class="ledger-count" data-words="{words}"></output>'
    return f'<div class="ledger-filters" hidden>{boxes}{count}</div>'


def section(claim: "Claim", lang: str | None = None) -> str:
    """Return the Markdown of one claim: heading, quotation, folded figures, scripts."""
    name = claim.name
    parts = [
        f"({name.lower()})=\n## {name}: {choose(claim.says, lang)}",
        f"**{verdict_text(claim.verdict, lang)}**: {counts(claim, lang)} "
        f"{text('ledger.guide_says', lang)}:\n\n> {choose(claim.words, lang)}",
    ]
    if claim.rows:
        title = text("ledger.show_rows", lang, count=len(claim.rows))
        parts.append(_folded("ledger-claim", title, _figures(claim, lang)))
    if claim.rows or claim.details:
        count = len(claim.details)
        title = text("ledger.show_details", lang, count=count)
        parts.append(_folded("ledger-details", title, _scripts(claim, lang)))
    return "\n\n".join(parts)


def script_page(result: "Result", lang: str | None = None) -> str:
    """Return the HTML page of one script: its protocol and all that it measured."""
    protocol = "\n\n".join(filter(None, [result.outdated, result.protocol]))
    names = ("what", "measured", "target", "verdict")
    titles = [_title(text(f"ledger.column_{name}", lang)) for name in names]
    rows = [
        _measurement(row, verdict, lang)
        for columns in by_figure(result.rows)
        for figure in [Figure(result, columns)]
        for row, verdict in zip(columns, figure.verdicts, strict=True)
    ]
    caption = text("ledger.rows", lang, claim=result.name)
    return (
        f'<!DOCTYPE html>\n<html lang="{lang or language()}"><head>'
        f'<meta charset="utf-8"><title>{escape(result.name)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(result.name)}</h1>"
        f"<p>{text('ledger.command', lang)}: <code>{escape(result.command)}</code></p>"
        f"<h2>{text('ledger.protocol', lang)}</h2><pre>{escape(protocol)}</pre>"
        f"{_table('', caption, titles, rows)}</body></html>\n"
    )


def _figures(claim: "Claim", lang: str | None) -> str:
    """Return the table of a claim's figures: a column for each machine."""
    machines = sorted({_machine(row) for f in claim.rows for row in f.columns})
    titles = [
        _title(text("ledger.column_what", lang)),
        *(_title(name, f' data-machine="{escape(name)}"') for name in machines),
        *(_title(text(f"ledger.column_{n}", lang)) for n in ("target", "verdict")),
    ]
    rows = [_row(figure, machines, lang) for figure in claim.rows]
    caption = text("ledger.rows", lang, claim=claim.name)
    return _table("ledger-rows", caption, titles, rows)


def _row(figure: "Figure", machines: Sequence[str], lang: str | None) -> str:
    several = len(set(figure.verdicts)) > 1
    values = dict.fromkeys(machines, "<td></td>")
    for row, verdict in zip(figure.columns, figure.verdicts, strict=True):
        words = f"<br>{verdict_text(verdict, lang)}" if several else ""
        values[_machine(row)] = _cell(_unbroken(row) + words, number(row.measured))
    row = figure.row
    choices = row.choices and text("ledger.choices", lang, choices=row.choices)
    reason = row.note if row.measured is None else None
    notes = _list(filter(None, [choices, reason]))
    cells = [
        f"<td>{escape(what(row, lang))}{notes}</td>",
        *values.values(),
        _cell(escape(target(row)), row.target),
        _verdict(figure.verdict, lang),
    ]
    return f'<tr data-verdict="{figure.verdict}">{"".join(cells)}</tr>'


def _measurement(row: "Row", verdict: str, lang: str | None) -> str:
    """Return a row of a script's page: all that is known of one measurement."""
    notes = _list([*remarks(row, verdict, lang), origin(row)])
    words = f"{row.claim}: {what(row, lang)}"
    cells = [f"{escape(words)}{notes}", _unbroken(row), escape(target(row))]
    cells.append(verdict_text(verdict, lang))
    return f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"


def _scripts(claim: "Claim", lang: str | None) -> str:
    """Return the frames of the scripts that measured a claim, each folded."""
    names = dict.fromkeys(f.result.name for f in (*claim.rows, *claim.details))
    return "".join(
        f"<details><summary>{name}</summary>"
        f'<iframe src="../{SCRIPTS}/{name}.html" title="{name}" loading="lazy">'
        f"</iframe></details>"
        for name in names
    )


def _folded(kind: str, title: str, content: str) -> str:
    summary = f"<summary>{escape(title)}</summary>"
    return f'<details class="{kind}">{summary}{content}</details>'


def _list(facts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f"<ul>{items}</ul>" if items else ""


def _figure(claim: "Claim", lang: str | None) -> list[str]:
    """Return the cells of the figure that decides: its words and value, its target."""
    figure = claim.figure
    if figure is None:
        return [_cell(DASH, ""), _cell(DASH, "")]
    words = escape(choose(claim.figure_words, lang))
    value = f"<b>{_unbroken(figure.row)}</b>"
    value = text("ledger.figure", lang, words=words, value=value)
    return [_cell(value, words), _cell(escape(target(figure.row)), figure.row.target)]


def _unbroken(row: "Row") -> str:
    """Return the value and its interval, which no line break divides."""
    return escape(measured(row)).replace(", ", ",&nbsp;")


def _verdict(verdict: str, lang: str | None) -> str:
    kind = f"verdict-{verdict.replace(' ', '-')}"
    words = f'<span class="verdict {kind}">{verdict_text(verdict, lang)}</span>'
    return _cell(words, RANKS.index(verdict))


def _cell(content: str, value: object) -> str:
    plain = "" if value is None else escape(str(value))
    return f'<td data-value="{plain}">{content}</td>'


def _title(words: str, marks: str = "") -> str:
    return f'<th scope="col"{marks}>{escape(words)}</th>'


def _table(kind: str, caption: str, titles: list[str], rows: list[str]) -> str:
    """Return a table whose titles and rows have markup."""
    return (
        f'<div class="ledger-scroll"><table class="ledger {kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{''.join(titles)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _select(name: str, options: list[tuple[str, str]], lang: str | None) -> str:
    label = text(f"ledger.filter_{name}", lang)
    items = "".join(
        f'<option value="{escape(value)}">{escape(words)}</option>'
        for value, words in [("", text("ledger.all", lang)), *options]
    )
    return f'<label>{label} <select data-filter="{name}">{items}</select></label>'


def _machine(row: "Row") -> str:
    """Return the processor and graphics card by which the figures are filtered."""
    facts = row.machine
    assert facts is not None  # every row in a file has a machine
    gpu = f", {facts['gpu']}" if facts["gpu"] else ""
    return f"{facts['cpu']}, {facts['cores']} cores{gpu}"


def _here(row: "Row", here: dict[str, object], lang: str | None) -> str:
    assert row.machine is not None
    same = same_machine(row.machine, here)
    return f" ({text('ledger.this_machine', lang)})" if same else ""
