"""Grade with nbgrader, but so that no submission can stop the others.

By itself, nbgrader gives full points to a test cell without an error, even if it never
ran, and no points to one that wrote to stderr. A test cell that displays a number gets
that many points. A notebook whose kernel died is not graded at all.
"""

from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute


class ExecuteWhole(Execute):
    """Runs a notebook to its end: if the kernel dies, every later cell counts as failed."""

    _loss_reason = ""  # why the kernel is gone

    def preprocess(self, nb: Any, *args: Any, **kwargs: Any) -> Any:
        self._loss_reason = ""
        return super().preprocess(nb, *args, **kwargs)

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> Any:
        """Run one cell; a test cell is graded by its assertion, never by its output."""
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
    """Return nbgrader's grading steps, with `ExecuteWhole` instead of `Execute`."""
    steps = Autograde.autograde_preprocessors.default_args[0]
    return [ExecuteWhole if step is Execute else step for step in steps]


def _is_read_as_grade(output: Any) -> bool:
    """Return whether nbgrader would read the output as a grade.

    It reads stderr as no points, and a displayed number as that many points.
    """
    return output.get("name") == "stderr" or output.output_type == "execute_result"


def _failure(reason: str) -> Any:
    facts = {
        "ename": "KernelLost",
        "evalue": reason,
        "traceback": [f"KernelLost: {reason}"],
    }
    return new_output("error", **facts)
