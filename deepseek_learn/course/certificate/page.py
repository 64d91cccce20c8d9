"""The certificate for human readers: an HTML page to print, and a badge for wallets.

Neither proves anything, since anyone can draw a page that looks the same. The
credential is what `verify` checks, and it renders the page from it anew.
"""

from html import escape
from pathlib import Path
from string import Template

from ...catalog import text
from ...errors import require
from .credential import Certificate

TEMPLATES = Path(__file__).parent / "templates"


def page(certificate: Certificate) -> bytes:
    """Return the certificate as an HTML page, which prints on a sheet of A4."""
    lang = certificate.learner.lang
    rows = map(certificate.line, certificate.results.projects)
    words = {
        "title": certificate.title,
        "name": certificate.learner.name,
        "graded": certificate.graded,
        "issued": certificate.issued,
        "meaning": certificate.meaning,
        "made": certificate.results.made,
        "print": text("certificate.print", lang),
    }
    projects = (
        f"<div><dt>{escape(title)}</dt><dd>{escape(result)}</dd></div>"
        for title, result in rows
    )
    content = Template(_template("certificate.html")).substitute(
        {name: escape(value) for name, value in words.items()},
        lang=lang,
        badge=_template("badge.svg"),
        projects="\n".join(projects),
    )
    return content.encode()


def badge(token: str) -> bytes:
    """Return an SVG with the credential baked in, which wallets for badges read."""
    baking = require(
        "openbadgeslib.baking", extra="certificate", purpose="a certificate"
    )
    return baking.bake_svg(
        _template("badge.svg").encode(),
        token,
        element=baking.SVG_ELEMENT_OB3,
        namespace=baking.SVG_NS_OB3,
    )


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
