"""The tasks of the practical projects: small ones, on data that is here.

A task draws its data from a seed: examples to learn from, and others whose classes only
the one who draws them knows. The two never share a group (a person, a turbine, a module,
a thread of emails), and a new seed draws new ones, so that a project is measured, not a
file of predictions.
"""

from . import factory, mail, movement, nodules, own, reviews, wind  # noqa: F401  # they register themselves
from .task import Draw, Task, draw, tasks

__all__ = ["Draw", "Task", "draw", "tasks"]
