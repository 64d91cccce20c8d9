"""`hint` and `solution`: help that shows itself, also in the middle of a cell."""

from ..catalog import choose, text
from . import problems
from .display import Words, show
from .problem import Problem

_given: dict[str, int] = {}  # problem: how many hints this session has shown


def hint(id: str, number: int | None = None) -> None:
    """Show the next hint to the problem `id`; when all were shown, all of them again.

    Args:
        number: show this hint, from 1 on, again; it does not count as the next one.

    Raises:
        UnknownNameError: naming the problem that may be meant, and those there are.
        ValueError: when there is no hint `number`.
    """
    problem = problems.get(id)
    if number is not None:
        show(Words(_hint(problem, _known(problem, number))))
        return
    given = _given.get(id, 0)
    if given < len(problem.hints):
        _given[id] = given + 1
        show(Words(_hint(problem, given + 1)))
        return
    every = [_hint(problem, each + 1) for each in range(given)]
    show(Words("\n\n".join([text("hint.all_given", count=given), *every])))


def solution(id: str) -> None:
    """Show a solution of the problem `id`; a graded problem has none to show.

    Raises:
        UnknownNameError: naming the problem that may be meant, and those there are.
    """
    problem = problems.get(id)
    if problem.solution is None:
        show(Words(text("solution.graded", problem=id)))
    else:
        show(Words(text("solution.head", problem=id), problem.solution.strip()))


def _hint(problem: Problem, number: int) -> str:
    count = len(problem.hints)
    head = text("hint.head", number=number, count=count, left=count - number)
    return f"{head}\n{choose(problem.hints[number - 1])}"


def _known(problem: Problem, number: int) -> int:
    count = len(problem.hints)
    if isinstance(number, int) and 1 <= number <= count:
        return number
    raise ValueError(text("hint.number", problem=problem.id, count=count, got=number))
