"""Run the notebooks and keep their outputs: they are committed executed."""

import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import require
from ..files import whole

LIMIT_S = 90  # of a whole notebook, on two cores


def execute(paths: list[Path]) -> Iterator[tuple[Path, float]]:
    """Run each notebook in place, in its own folder and a fresh kernel.

    Yields:
        (path, seconds) as each is done and written.

    Raises:
        nbclient.exceptions.CellExecutionError: at the first cell that fails; that
            notebook is left as it was.
    """
    nbformat = require("nbformat", extra="course", purpose="running notebooks")
    nbclient = require("nbclient", extra="course", purpose="running notebooks")
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        client = nbclient.NotebookClient(
            notebook,
            timeout=LIMIT_S,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
            store_widget_state=False,
        )
        client.execute()
        tidy(notebook)
        with whole(path) as temporary:
            temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        yield path, time.perf_counter() - start


def tidy(notebook) -> None:
    """Drop what differs from machine to machine and shows nothing."""
    notebook.metadata.pop("widgets", None)
    language = notebook.metadata.get("language_info", {})
    notebook.metadata["language_info"] = {"name": language.get("name", "python")}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
