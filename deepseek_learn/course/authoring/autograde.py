"""Grade assignments with nbgrader, even if a submission crashes.

By default, nbgrader gives full points to a test cell that has no error, even if the
cell was never run, and no points to a cell that wrote to stderr. If a test cell
displays a number, nbgrader uses this number as the score. A notebook whose kernel died
is not graded at all.
"""

from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute


class ExecuteWhole(Execute):
    """An nbgrader preprocessor that runs a notebook to the end.

    If the kernel dies, the current code cell and all later ones are marked as failed.
    """

    _loss_reason = ""  # the reason why the kernel was lost

    def preprocess(self, nb: Any, *args: Any, **kwargs: Any) -> Any:
        self._loss_reason = ""
        return super().preprocess(nb, *args, **kwargs)

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> Any:
        """Run one cell, and remove any output that nbgrader would read as a grade."""
        if not self._loss_reason:
            try:
                cell, resources = super().preprocess_cell(cell, resources, index)
            except (DeadKernelError, CellTimeoutError) as error:
                self._loss_reason = f"the kernel was lost in cell {index + 1}: {error}"
        if cell.cell_type == "code" and self._loss_reason:
            cell.outputs = [_failure(self._loss_reason)]
        elif utils.is_grade(cell):
            cell.outputs = [o for o in cell.outputs if not _is_read_as_grade(o)]
        return cell, resources


def preprocessors() -> list[type]:
    """Return nbgrader's autograding steps, with `ExecuteWhole` replacing `Execute`."""
    steps = Autograde.autograde_preprocessors.default_args[0]
    return [ExecuteWhole if step is Execute else step for step in steps]


def _is_read_as_grade(output: Any) -> bool:
    """Return whether nbgrader would read the output as a grade.

    It interprets output on stderr as zero points, and a displayed number as the score.
    """
    return output.get("name") == "stderr" or output.output_type == "execute_result"


def _failure(reason: str) -> Any:
    facts = {
        "ename": "KernelLost",
        "evalue": reason,
        "traceback": [f"KernelLost: {reason}"],
    }
    return new_output("error", **facts)
