"""How nbgrader runs a class: no submission, whatever it does, stops the others.

nbgrader gives all points to a test cell without an error, also to one that never ran,
none to one that wrote to stderr, and the number that one shows as its result; it grades
nothing of a notebook whose kernel ended.
"""

from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute


class ExecuteWhole(Execute):
    """Runs a notebook to its end: when the kernel is lost, every later cell failed."""

    _lost = ""  # why there is no kernel any more

    def preprocess(self, nb: Any, *args: Any, **kwargs: Any) -> Any:
        self._lost = ""
        return super().preprocess(nb, *args, **kwargs)

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> Any:
        """Run one cell; what a test cell prints is no grade, its assertion decides."""
        if not self._lost:
            try:
                cell, resources = super().preprocess_cell(cell, resources, index)
            except (DeadKernelError, CellTimeoutError) as error:
                self._lost = f"the kernel was lost in cell {index + 1}: {error}"
        if cell.cell_type == "code" and self._lost:
            cell.outputs = [_failure(self._lost)]
        elif utils.is_grade(cell):
            cell.outputs = [o for o in cell.outputs if not _is_taken_for_a_grade(o)]
        return cell, resources


def preprocessors() -> list[type]:
    """nbgrader's own steps of grading, with this one in place of its `Execute`."""
    steps = Autograde.autograde_preprocessors.default_args[0]
    return [ExecuteWhole if step is Execute else step for step in steps]


def _is_taken_for_a_grade(output: Any) -> bool:
    """A warning for no points, a number that is shown for that many."""
    return output.get("name") == "stderr" or output.output_type == "execute_result"


def _failure(why: str) -> Any:
    facts = {"ename": "KernelLost", "evalue": why, "traceback": [f"KernelLost: {why}"]}
    return new_output("error", **facts)
