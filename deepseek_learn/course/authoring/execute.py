"""Execute notebooks in place, because they are committed with their outputs."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DeepSeekLearnError, require
from ...files import atomic_write
from ...measure.memory import REUSE_FREED
from ..progress_view import PERSONAL
from . import pictures

if TYPE_CHECKING:
    from nbformat import NotebookNode

# The limits stated at the top of every lesson, for two cores.
LIMIT_S, LIMIT_MIB = 90, 1430  # 1.5 GB
# The additional memory of a CUDA build of PyTorch, even without a GPU: 350 MiB of
# library pages, and 130 MiB that the libraries write to while they are being loaded.
CUDA_MIB = 510
# getrusage would include the time before exec, when the process is a copy of its parent
PEAK = """import pathlib, re, resource
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 2**10)
else:  # macOS, in bytes
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"""


def execute(paths: list[Path]) -> Iterator[tuple[Path, dict]]:
    """Run each notebook in a new kernel and save it with its outputs.

    Each notebook is run in its own folder. It starts without any learner progress, and
    the author's own progress is not changed.

    Yields:
        `(path, cost)` after each notebook has been saved. The cost is a dictionary
        `{"seconds", "peak_mib"}`, which is also stored in the notebook's metadata.

    Raises:
        DeepSeekLearnError: if a file is not a notebook, if a cell fails, or if a
            notebook exceeds the limits. In these cases, the file is left unchanged.
    """
    nbformat = require("nbformat", extra="course", purpose="running notebooks")
    nbclient = require("nbclient", extra="course", purpose="running notebooks")
    for path in paths:
        notebook = read(path)
        notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
        start = time.perf_counter()
        client = nbclient.NotebookClient(
            notebook,
            timeout=LIMIT_S,  # per cell
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
        )
        try:
            with tempfile.TemporaryDirectory() as home:
                client.execute(
                    env=REUSE_FREED | os.environ | {"DEEPSEEK_LEARN_HOME": home}
                )
        except nbclient.exceptions.CellExecutionError as error:
            raise DeepSeekLearnError(
                f"{path} stopped: a cell raised {error.ename}: {error.evalue}"
            ) from error
        seconds = time.perf_counter() - start
        peak = float(notebook.cells.pop().outputs[-1].text)
        if seconds > LIMIT_S or peak > LIMIT_MIB:
            raise DeepSeekLearnError(
                f"{path} took {seconds:.0f} s and {peak:.0f} MiB; a lesson may take at "
                f"most {LIMIT_S} s and {LIMIT_MIB} MiB (use a CPU build of PyTorch, "
                f"because a CUDA build needs about {CUDA_MIB} MiB more)."
            )
        cost = {"seconds": round(seconds), "peak_mib": round(peak)}
        notebook.metadata["cost"] = cost
        tidy(notebook)
        pictures.shrink(notebook)
        with atomic_write(path) as temporary:
            temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        yield path, cost


def read(path: Path) -> "NotebookNode":
    """Read and validate a notebook.

    Unlike nbformat's own errors, the message names the file.

    Raises:
        DeepSeekLearnError: if the file is not a valid notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError:
        raise
    except Exception as error:  # invalid JSON, encoding, version or schema
        first = next(iter(str(error).splitlines()), "")
        raise DeepSeekLearnError(f"{path} is not a notebook: {first}") from error
    return notebook


def tidy(notebook: "NotebookNode") -> None:
    """Remove the parts of a notebook that depend on the machine or its user."""
    notebook.metadata.pop("widgets", None)
    language = notebook.metadata.get("language_info", {})
    notebook.metadata["language_info"] = {"name": language.get("name", "python")}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _is_private(o)]
            for output in cell.outputs:
                # keep the message, but not the frames with paths on this machine
                if output.output_type == "error":
                    output.traceback = output.traceback[-1:]


def _is_private(output: "NotebookNode") -> bool:
    return output.get("name") == "stderr" or PERSONAL in output.get("metadata", {})
