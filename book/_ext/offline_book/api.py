"""The first page of the API reference lists every documented name, page by page.

The reference was a single page once: a link into it, such as
`api.html#deepseek_learn.dpg.compress`, leads on to the module's page.
"""

from collections.abc import Iterator
from html import escape

from docutils import nodes

MARK = "<!-- api-names -->"
TOP_LEVEL = ("class", "data", "exception", "function")
REDIRECT = """<script>
const [name, module] = location.hash.match(/^#deepseek_learn\\.(\\w+)/) ?? [];
if (name) location.replace(`api/${module}.html${location.hash}`);
</script>"""


def list_names(app, doctree, docname) -> None:
    """Replace the mark by the names, which are known once all pages have been read."""
    for node in list(doctree.findall(nodes.raw)):
        if node.astext().strip() == MARK:
            content = f'<dl class="api-names">{"".join(_modules(app))}</dl>{REDIRECT}'
            node.replace_self(nodes.raw("", content, format="html"))


def _modules(app) -> Iterator[str]:
    """Yield each page's title and the names on it, in the order of the contents."""
    objects = app.env.get_domain("py").objects
    for page in app.env.toctree_includes["book/api"]:
        path = f"{page.removeprefix('book/')}.html"
        names = [
            f'<a href="{path}#{entry.node_id}"><code>{name.split(".")[-1]}</code></a>'
            for name, entry in objects.items()
            if entry.docname == page
            and entry.objtype in TOP_LEVEL
            # an alias is the same class under the name of the file that defines it
            and not entry.aliased
        ]
        title = escape(app.env.titles[page].astext())
        yield f'<dt><a href="{path}">{title}</a></dt><dd>{" · ".join(names)}</dd>'
