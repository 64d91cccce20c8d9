"""Sphinx extension of the book: two languages, and pages that work without a network.

- plotly figures are drawn by the plotly.js inside the installed plotly package, math
  by the MathJax of sphinx-mathjax-offline; thebe, which loads from a CDN, is left out;
- the address of the repository comes from pyproject.toml;
- the footer says when the monthly tests last passed (`last_run.json`), if they ever did;
- each page knows whether it exists in the other language (for `lang-switch.html`);
- `<!-- claims-ledger -->` in a page becomes the ledger's tables, `<!-- find-it -->` the
  tables of papers, `<!-- leaderboard TRACK -->` the table of a track, and
  `<!-- diagnostic -->` the questions that say where to begin.
"""

import fnmatch
import importlib.util
import json
import re
import shutil
import tomllib
from functools import partial
from pathlib import Path

import myst_nb.core.render
import yaml
from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
PLOTLY = "application/vnd.plotly.v1+json"
# A badge is loaded from Colab, for readers on GitHub; the book has its own button.
BADGE = re.compile(r"\[!\[[^\]]*\]\(https://[^)]*badge[^)]*\)\]\([^)]*\)")
BOOT = """
document.addEventListener('DOMContentLoaded', () => {
  document.querySelectorAll('.ds-plotly').forEach(el => {
    const spec = JSON.parse(el.querySelector('script').textContent);
    Plotly.newPlot(el, spec.data, spec.layout, {responsive: true, displaylogo: false})
      .then(() => spec.frames.length && Plotly.addFrames(el, spec.frames));
  });
});
"""


class PlotlyMime:
    """MIME plugin: by itself, myst-nb drops plotly's type and shows nothing."""

    mime_priority_overrides = [("html", PLOTLY, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        """Return the figure as a `div` with its own JSON, or None for other types."""
        if inline or data.mime_type != PLOTLY:
            return None
        content = data.content
        figure = content if isinstance(content, dict) else json.loads(content)
        layout = figure.get("layout") or {}
        spec = {
            "data": figure.get("data") or [],
            "layout": layout,
            "frames": figure.get("frames") or [],
        }
        text = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
        html = (
            f'<div class="ds-plotly" style="min-height:{layout.get("height", 450)}px">'
            f'<script type="application/json">{text}</script></div>'
        )
        return [nodes.raw("", html, format="html", classes=["output", "plotly"])]


def install_plotly_mime() -> None:
    # The official route is an entry point, which only an installed distribution has.
    load = myst_nb.core.render.load_mime_renders
    myst_nb.core.render.load_mime_renders = lambda: [PlotlyMime, *load()]


def set_repository(app, config) -> None:
    """Set the address of the buttons (from pyproject.toml) and this edition's folder.

    Without an address, the buttons that would lead there are left out.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    if not address:
        config.html_theme_options |= {
            "repository_url": "",
            "use_repository_button": False,
            "launch_buttons": {},
        }
        return
    folder = Path(app.srcdir).resolve().relative_to(ROOT).as_posix()
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": "main",
        "path_to_docs": "" if folder == "." else folder,
    }


def set_last_run(app, config) -> None:
    """Put the date that the monthly workflow writes into the footer."""
    file = ROOT / "book" / "last_run.json"
    if file.is_file():
        from deepseek_learn.catalog import text

        lang = "zh" if config.language.startswith("zh") else "en"
        words = text("book.last_run", lang, **json.loads(file.read_text("utf-8")))
        config.html_theme_options |= {"extra_footer": words}


def pages_of(edition: Path) -> set[str]:
    """Return the existing pages that an edition's `_toc.yml` names, without suffix."""
    names: list[str] = []

    def collect(node) -> None:
        if isinstance(node, list):
            for item in node:
                collect(item)
        elif isinstance(node, dict):
            names.extend(node[key] for key in ("root", "file", "glob") if key in node)
            collect(list(node.values()))

    collect(yaml.safe_load((edition / "_toc.yml").read_text("utf-8")))
    sources = [
        path.relative_to(edition).with_suffix("").as_posix()
        for folder in ("book", "notebooks", "exercises")
        for path in (edition / folder).rglob("*")
        if path.suffix in (".md", ".ipynb")
    ]
    return {page for page in sources for name in names if fnmatch.fnmatch(page, name)}


def is_zh(app) -> bool:
    return app.config.language.startswith("zh")


def find_other_edition(app) -> None:
    app.other_pages = pages_of(ROOT if is_zh(app) else ROOT / "zh")


def is_thebe(script) -> bool:
    name = str(getattr(script, "filename", "") or "")
    body = getattr(script, "attributes", {}).get("body", "")
    return "thebe" in name or "THEBE_JS_URL" in str(body)


def set_language_switch(app, pagename, templatename, context, doctree) -> None:
    if pagename in app.other_pages:
        up = context["pathto"]("", 1) + ("../" if is_zh(app) else "zh/")
        context["other_language"] = "en" if is_zh(app) else "zh-CN"
        context["other_edition"] = f"{up}{pagename}.html"


def set_scripts(app, pagename, templatename, context, doctree) -> None:
    """Remove thebe, and add plotly.js to the pages with a figure."""
    # In place: Sphinx keeps adding to this very list, so a new one would miss the rest.
    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if not is_thebe(script)]
    if doctree is not None and any(
        "ds-plotly" in node.astext() for node in doctree.findall(nodes.raw)
    ):
        app.add_js_file("vendor/plotly.min.js", priority=900)
        app.add_js_file(None, body=BOOT, priority=901)


def copy_scripts(app, exception) -> None:
    """Copy plotly.js and MathJax from the installed packages into the book."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    (static / "vendor").mkdir(parents=True, exist_ok=True)
    plotly = Path(importlib.util.find_spec("plotly").origin).parent
    shutil.copy(plotly / "package_data" / "plotly.min.js", static / "vendor")
    origin = importlib.util.find_spec("sphinx-mathjax-offline").origin
    mathjax = Path(origin).parent / "static" / "mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(mathjax / fonts, static / "mathjax" / fonts, dirs_exist_ok=True)
    shutil.copy(mathjax / "tex-chtml.js", static / "mathjax")


def claims_tables(lang: str) -> str:
    from deepseek_learn.course import ledger  # only the page of claims needs it

    return ledger().to_markdown(lang)


def paper_tables(lang: str) -> str:
    from deepseek_learn.course.authoring import find_it

    return find_it.to_markdown(ROOT, lang)


def leaderboard_table(track: str, lang: str) -> str:
    from deepseek_learn.leaderboard import to_markdown

    return to_markdown(track, lang)


def diagnostic_form(lang: str) -> str:
    """Return the diagnostic, with links to the lessons of this or the English edition."""
    from deepseek_learn.course import diagnostic
    from deepseek_learn.course.diagnostic_form import diagnostic_form as form

    def link(lesson) -> str:
        english = lang == "zh" and not (ROOT / "zh/notebooks" / lesson.file).exists()
        page = f"notebooks/{lesson.file}".removesuffix(".ipynb")
        return f"{'../../' if english else '../'}{page}.html"

    return form(diagnostic(lang), link)


TRACKS = ("grouping", "attention", "update_rules", "samplers")
GENERATED = {
    "<!-- claims-ledger -->": claims_tables,
    "<!-- find-it -->": paper_tables,
    **{f"<!-- leaderboard {t} -->": partial(leaderboard_table, t) for t in TRACKS},
    "<!-- diagnostic -->": diagnostic_form,
}


def read_source(app, docname, source) -> None:
    """Fill in generated tables, drop badges, and fix links into the English edition."""
    source[0] = BADGE.sub("", source[0])
    for mark, tables in GENERATED.items():
        if mark in source[0]:
            lang = "zh" if is_zh(app) else "en"
            source[0] = source[0].replace(mark, tables(lang))
    if is_zh(app):
        # zh/book/x.md links ../../book/y.md (right on GitHub) for a page that only the
        # English book has; Sphinx would offer that file for download.
        up = "../" * (docname.count("/") + 1)
        link = (
            rf"(?<!!)\[([^\[\]]+)\]\({re.escape(up)}((?:book|notebooks)/[\w/]+)\.\w+\)"
        )
        source[0] = re.sub(link, rf"<a href='{up}\2.html'>\1</a>", source[0])


def markdown_docstring(app, what, name, obj, options, lines) -> None:
    """Double the single backticks in docstrings, as reStructuredText requires."""
    marked = re.compile(r"(:\w+:`[^`]+`|``[^`]+``)|`([^`]+)`")
    text = marked.sub(lambda m: m[1] or f"``{m[2]}``", "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app) -> dict:
    """Connect the handlers; Sphinx calls this function."""
    install_plotly_mime()
    app.connect("config-inited", set_repository)
    app.connect("config-inited", set_last_run)
    app.connect("builder-inited", find_other_edition)
    app.connect("source-read", read_source)
    # Early: the theme drops a template that is empty when its own handler runs.
    app.connect("html-page-context", set_language_switch, priority=100)
    app.connect("html-page-context", set_scripts, priority=900)
    app.connect("build-finished", copy_scripts)
    if "sphinx.ext.autodoc" in app.config.extensions:
        app.setup_extension("sphinx.ext.autodoc")
        app.connect("autodoc-process-docstring", markdown_docstring, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
