"""The book's ledger page: all claims on one screen, and each claim's rows, folded.

The tables are HTML, because each row carries what `book/_assets/ledger.js` filters and
sorts by: `data-verdict` and `data-machine` on a row, `data-value` on a cell. Without the
script, everything is shown.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..catalog import choose, text
from .claim import RANKS, Claim, Entry
from .results import machine, same_machine
from .wording import DASH, counts, measured, remarks, target, verdict_text, what

if TYPE_CHECKING:
    from .rows import Row


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
    return _table("ledger-glance", text("ledger.glance", lang), rows, lang, "claim")


def filters(claims: Sequence["Claim"], lang: str | None = None) -> str:
    """Return the controls that filter the rows of all claims."""
    entries = [entry for claim in claims for entry in claim.rows]
    present = {entry.verdict for entry in entries}
    verdicts = [(v, verdict_text(v, lang)) for v in RANKS if v in present]
    here = machine()
    machines = {
        _machine(e): f"{_machine(e)}{_here(e, here, lang)}"
        for e in sorted(entries, key=_machine)
    }
    boxes = _select("verdict", verdicts, lang)
    boxes += _select("machine", list(machines.items()), lang)
    words = escape(text("ledger.matching", lang, count="{count}"))
    count = f'<output class="ledger-count" data-words="{words}"></output>'
    return f'<div class="ledger-filters" hidden>{boxes}{count}</div>'


def section(claim: "Claim", lang: str | None = None) -> str:
    """Return the Markdown of one claim: heading, quotation, folded rows, protocols."""
    name = claim.name
    parts = [
        f"({name.lower()})=\n## {name}: {choose(claim.says, lang)}",
        f"**{verdict_text(claim.verdict, lang)}**: {counts(claim, lang)}",
        f"{text('ledger.guide_says', lang)}:\n\n> {choose(claim.words, lang)}",
    ]
    if claim.rows:
        rows = [_row(entry, lang) for entry in claim.rows]
        label = text("ledger.rows", lang, claim=name)
        table = _table("ledger-rows", label, rows, lang, "what")
        title = text("ledger.show_rows", lang, count=len(rows))
        summary = f"<summary>{title}</summary>"
        parts.append(f'<details class="ledger-claim">{summary}{table}</details>')
    return "\n\n".join([*parts, *_protocols(claim.rows, lang)])


def _protocols(entries: Sequence["Entry"], lang: str | None) -> list[str]:
    """Return each script's protocol, folded, with the command that runs it again."""
    words, parts = text("ledger.protocol", lang), []
    for result in {entry.result.name: entry.result for entry in entries}.values():
        protocol = next(e.protocol for e in entries if e.result.name == result.name)
        again = f"{text('ledger.command', lang)}:\n```bash\n{result.command}\n```"
        body = f":class: dropdown\n{again}\n\n{protocol}"
        parts.append(f"````{{admonition}} {words}: {result.name}\n{body}\n````")
    return parts


def _row(entry: "Entry", lang: str | None) -> str:
    facts = ["; ".join(remarks(entry, lang)), f"{entry.result.name}: {entry.origin}"]
    small = "".join(f"<li>{escape(fact)}</li>" for fact in facts if fact)
    cells = [
        _cell(f"{escape(what(entry, lang))}<ul>{small}</ul>", entry.row.what),
        _cell(_unbroken(entry.row), entry.row.measured),
        _cell(escape(target(entry.row)), entry.row.target),
        _verdict(entry.verdict, lang),
    ]
    marks = {"verdict": entry.verdict, "machine": _machine(entry)}
    data = "".join(f' data-{k}="{escape(v)}"' for k, v in marks.items())
    return f"<tr{data}>{''.join(cells)}</tr>"


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


def _table(
    kind: str, caption: str, rows: list[str], lang: str | None, first: str
) -> str:
    """Return a table whose rows may have markup; its cells carry their column's name."""
    names = [first, "figure" if first == "claim" else "measured", "target", "verdict"]
    titles = [text(f"ledger.column_{name}", lang) for name in names]
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "".join(rows)
    return (
        f'<div class="ledger-scroll"><table class="ledger {kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _select(name: str, options: list[tuple[str, str]], lang: str | None) -> str:
    label = text(f"ledger.filter_{name}", lang)
    items = "".join(
        f'<option value="{escape(value)}">{escape(words)}</option>'
        for value, words in [("", text("ledger.all", lang)), *options]
    )
    return f'<label>{label} <select data-filter="{name}">{items}</select></label>'


def _machine(entry: "Entry") -> str:
    """Return the processor and graphics card by which the rows are filtered."""
    facts = entry.row.machine
    assert facts is not None  # every row in a file has a machine
    gpu = f", {facts['gpu']}" if facts["gpu"] else ""
    return f"{facts['cpu']}, {facts['cores']} cores{gpu}"


def _here(entry: "Entry", here: dict[str, object], lang: str | None) -> str:
    assert entry.row.machine is not None
    same = same_machine(entry.row.machine, here)
    return f" ({text('ledger.this_machine', lang)})" if same else ""
