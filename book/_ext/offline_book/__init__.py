"""Sphinx extension of the book: two languages, and pages that work without a network.

- `settings`: the address of the repository comes from pyproject.toml; the footer says when
  the monthly tests last passed (`last_run.json`), if they ever did;
- `languages`: each page knows whether it exists in the other language;
- `sources`: marks such as `<!-- claims-ledger -->` become generated tables, and cells that
  only machines need are hidden;
- `api`: the API reference has one page per module, and a first page that lists all names;
- `figures`: plotly figures follow the theme, and every figure has a text;
- `tables`: words to the left, numbers to the right;
- `accessibility`: what axe finds in the theme's and pandas's HTML is repaired;
- `search`: British spellings and Chinese words are found;
- `scripts`: plotly.js and MathJax come from installed packages; thebe, which loads from a
  CDN, is left out.
"""

from functools import cache

from sphinx.util import matching

from .accessibility import repair_body, repair_contents
from .api import list_names
from .figures import describe_figures, install_plotly_mime
from .languages import find_other_edition, set_language_switch
from .scripts import copy_scripts, set_scripts, write_ledger
from .search import install_search
from .settings import set_last_run, set_repository
from .sources import markdown_docstring, read_source
from .tables import align_tables


def setup(app) -> dict:
    """Connect the handlers; Sphinx calls this function."""
    install_plotly_mime()
    install_search(app)
    # for the contents beside each page, Sphinx translates the same patterns again and again
    matching._translate_pattern = cache(matching._translate_pattern)
    app.connect("config-inited", set_repository)
    app.connect("config-inited", set_last_run)
    app.connect("builder-inited", find_other_edition)
    app.connect("source-read", read_source)
    app.connect("doctree-read", describe_figures)
    app.connect("doctree-read", align_tables)
    app.connect("doctree-resolved", list_names)
    # Early: the theme drops a template that is empty when its own handler runs.
    app.connect("html-page-context", set_language_switch, priority=100)
    app.connect("html-page-context", repair_body)
    # late: the theme puts the function for the contents there itself
    app.connect("html-page-context", repair_contents, priority=900)
    app.connect("html-page-context", set_scripts, priority=900)
    app.connect("build-finished", copy_scripts)
    app.connect("build-finished", write_ledger)
    if "sphinx.ext.autodoc" in app.config.extensions:
        app.setup_extension("sphinx.ext.autodoc")
        app.connect("autodoc-process-docstring", markdown_docstring, priority=100)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
