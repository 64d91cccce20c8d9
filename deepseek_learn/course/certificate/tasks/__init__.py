"""The tasks of the practical projects, on small data sets that the course includes.

A task draws a training set and a test set from a seed. The classes of the test set are
never given to the project. The two sets share no group (a person, a turbine, a module, a
thread of emails), and a new seed draws new sets, so that memorized predictions fail.
"""

from . import factory, mail, movement, nodules, own, reviews, wind  # noqa: F401  # they register themselves
from .task import Draw, Task, draw, tasks

__all__ = ["Draw", "Task", "draw", "tasks"]
