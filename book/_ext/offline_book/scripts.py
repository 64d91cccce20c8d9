"""The scripts of a page, all of them local: plotly.js, MathJax and our own."""

import importlib.util
import shutil
from pathlib import Path

from docutils import nodes

from .settings import language_of

LEDGER = "book/claims"


def is_thebe(script) -> bool:
    name = str(getattr(script, "filename", "") or "")
    body = getattr(script, "attributes", {}).get("body", "")
    return "thebe" in name or "THEBE_JS_URL" in str(body)


def set_scripts(app, pagename, templatename, context, doctree) -> None:
    """Remove thebe, and add plotly.js to the pages with a figure."""
    # In place: Sphinx keeps adding to this very list, so a new one would miss the rest.
    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if not is_thebe(script)]
    if doctree is not None and any(
        "ds-plotly" in node.astext() for node in doctree.findall(nodes.raw)
    ):
        app.add_js_file("vendor/plotly.min.js", priority=900)
        app.add_js_file("figures.js", priority=901)
    if pagename == LEDGER:
        app.add_js_file("ledger.js", priority=900)


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


def write_ledger(app, exception) -> None:
    """Write the pages of the benchmark scripts, which the ledger shows in frames."""
    if exception or app.builder.format != "html":
        return
    from deepseek_learn.ledger import page
    from deepseek_learn.ledger.results import read_results

    folder = Path(app.outdir) / page.SCRIPTS
    folder.mkdir(parents=True, exist_ok=True)
    for result in read_results():
        content = page.script_page(result, language_of(app))
        (folder / f"{result.name}.html").write_text(content, encoding="utf-8")
