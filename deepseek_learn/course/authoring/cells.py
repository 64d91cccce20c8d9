"""Cells for generated notebooks; each has an id, so that editions can be compared."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode


def markdown(id: str, source: str, tags: list[str] | None = None) -> "NotebookNode":
    from nbformat.v4 import new_markdown_cell

    return new_markdown_cell(source, id=id, metadata={"tags": tags} if tags else {})


def code(id: str, source: str, tags: list[str] | None = None) -> "NotebookNode":
    from nbformat.v4 import new_code_cell

    return new_code_cell(source, id=id, metadata={"tags": tags} if tags else {})
