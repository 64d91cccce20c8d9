"""Tables of pandas: a column of words is set to the left, a column of numbers to the right.

pandas writes no classes, and a style sheet cannot tell a sentence from a number.
"""

import re

from bs4 import BeautifulSoup
from docutils import nodes

NUMBER = re.compile(r"[\s\d.,:;%+\-–−×x*/()\[\]<>≤≥±eE]*|NaN|nan|None|inf|<NA>")
WORDS = "words"
TABLES = (
    "table.dataframe, table:has(th.col_heading)"  # the latter are of pandas' Styler
)


def align_tables(app, doctree) -> None:
    """Mark the cells of the columns that hold words in each table of a page."""
    for node in doctree.findall(nodes.raw):
        html = node.astext()
        if node.get("format") == "html" and re.search("dataframe|col_heading", html):
            html = mark_words(html)
            node.rawsource, node.children = html, [nodes.Text(html)]


def mark_words(html: str) -> str:
    """Return the HTML with class "words" on each cell of a column that holds words."""
    soup = BeautifulSoup(html, "html.parser")
    for table in soup.select(TABLES):
        table["class"] = list(dict.fromkeys([*table.get("class", []), "dataframe"]))
        rows = [row.find_all("td") for row in table.select("tbody tr")]
        width = max(map(len, rows), default=0)
        for column in range(-width, 0):  # from the right: the index may span rows
            cells = [row[column] for row in rows if len(row) >= -column]
            if any(not NUMBER.fullmatch(cell.get_text()) for cell in cells):
                heads = [row.find_all("th") for row in table.select("thead tr")]
                cells += [row[column] for row in heads if len(row) >= -column]
                for cell in cells:
                    cell["class"] = [*cell.get("class", []), WORDS]
    return str(soup)
